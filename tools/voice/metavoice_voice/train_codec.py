"""Trains the codes (`codec.py`) on spectra: first without the quantiser, then with 2, 4 or 8 codebooks at random."""

import numpy as np
import torch

from .codec import SpectralCodec
from .synthesise import Speech
from .training import Run, adamw, linear_rate, put, set_rate

BATCH, SAMPLES = 16, 40_960
STARTS = 0.1  # of the steps go without quantiser
DEPTHS, SHARES = (2, 4, 8), (0.4, 0.2, 0.4)


def cut(pcm, random, batch, samples):
    """Random stretches of the speech, at random loudness: [batch, samples]."""
    starts = put(random.integers(0, len(pcm) - samples, (batch, 1)), pcm.device)
    gains = put(random.uniform(0.8, 1.15, (batch, 1)).astype(np.float32) / 32768, pcm.device)
    return pcm[starts + torch.arange(samples, device=pcm.device)] * gains


def train(data, folder, hop, length, seed, device, larger=1):
    """`larger`: batches of so many times the usual size."""
    pcm, batch = Speech.open(data, "train").on(device), BATCH * larger
    torch.manual_seed(seed)
    net = SpectralCodec(hop).to(device)
    optimizer = adamw(net.parameters(), device, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    run = Run(folder, "codec", length, seed, {"net": net, "optimizer": optimizer})
    started = run.part_done() > STARTS
    for step in run:
        random = run.random()
        set_rate(optimizer, linear_rate(run.part_done(), step))
        patches = net.patches(cut(pcm, random, batch, SAMPLES))
        quantised = run.part_done() >= STARTS
        if quantised and not started:
            started = True
            with torch.no_grad():
                latents = [net.encoder(net.patches(cut(pcm, random, batch, SAMPLES))) for _ in range(16)]
                net.quantizer.start(torch.cat(latents))
        latent, loss, codes = net.encoder(patches), 0.0, None
        if quantised:
            depths = put(random.choice(DEPTHS, batch, p=SHARES), device)
            latent, codes, extra = net.quantizer(latent, depths)
            loss = 0.5 * extra
        difference = (net.decoder(latent) - patches).abs().mean()
        optimizer.zero_grad()
        (difference + loss).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        run.record(difference=difference)
        if codes is not None and step % 10 == 0:
            used = [len(row.unique()) for row in codes]
            run.record(first_codes=used[0], second_codes=used[1], last_codes=used[-1])
        run.report()
    return net.eval()
