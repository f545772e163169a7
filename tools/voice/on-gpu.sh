#!/usr/bin/env bash
# The whole workshop on one GPU in some nine minutes: what needs no other step runs beside it, and the first stage begins
# before all speech is there.
#
#   tools/voice/on-gpu.sh WORK [SECONDS]      520 seconds by default; the model comes to WORK/bundled
#
# WORK/lists holds train.json, held-out.json, tried.json and tokenizer.json where the machine lacks WordNet and the rest
# (`corpus.write` and `Tokenizer.of` make them); flite is on the PATH. PYTHON names a Python with PyTorch, numpy and matplotlib.
# Afterwards: `export` with --work WORK/all writes voices/bundled and its golden data.
set -uo pipefail
work=$(mkdir -p "${1:?the folder to work in}" && cd "$1" && pwd) seconds=${2:-520} python=${PYTHON:-python3}
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) log=$work/log.txt
export OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
now() { echo "$SECONDS"; }
say() { echo "$(now) s  $*" | tee -a "$log"; }
voice() { (cd "$tools" && "$python" -m metavoice_voice "$@" --threads 2) >>"$log" 2>&1; }
on() { echo "--work $work/$1 --curves $work/$1/curves"; }
# Batches of so many times the usual size, and how long each step lasts that is not the first stage. What is left is hers.
codec_batch=4 decoder_batch=2 first_batch=12 second_batch=10
codec_seconds=75 decoder_seconds=200 second_seconds=90 refine_seconds=30 tail_seconds=95

# part NAME FROM TO: sentences of the list, to be spoken on their own. Only the first part has those for judging.
part() {
  mkdir -p "$work/$1/data"
  cp "$work/lists/tokenizer.json" "$work/$1/data/"
  "$python" - "$work" "$@" <<'P'
import json, sys
work, name, begin, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for kind in ("train", "held-out", "tried"):
    items = json.load(open(f"{work}/lists/{kind}.json"))
    few = items[begin:end] if kind == "train" else items if begin == 0 else items[:2]
    json.dump(few, open(f"{work}/{name}/data/{kind}.json", "w"))
P
}
trained() { mkdir -p "$work/$2/state"; cp "$work/$1"/state/codec.* "$work/$1"/state/speaker-encoder.* "$work/$1"/state/embeddings.npz "$work/$2/state/"; }
encode() { voice codec $(on "$1") --seconds $codec_seconds; }

if [ ! -e "$work/lists/train.json" ]; then
  (cd "$tools" && "$python" -c "
from pathlib import Path
from metavoice_voice import corpus, tokenizer
corpus.write(Path('$work/lists'), 48_000, 1, 2)
tokenizer.Tokenizer.of(Path('$work/lists'))") || exit
fi
few=4000 sentences=$("$python" -c "import json; print(len(json.load(open('$work/lists/train.json'))))")
part few 0 $few
started=$(now)
voice data $(on few) || exit
spoken=$(($(now) - started + 1))
more=$((few + few * 70 / spoken)) most=$((few + few * 200 / spoken))
most=$((most < sentences ? most : sentences))
say "spoken: $few sentences in $spoken s; $most are to be"
part more $few $more
part most $more $most
(nice -n 10 bash -c "cd '$tools' && '$python' -m metavoice_voice data $(on more) && touch '$work/more.spoken' && '$python' -m metavoice_voice data $(on most)") >>"$log" 2>&1 &
speaking=$!
voice speaker-encoder $(on few) &
encoder=$!
voice codec $(on few) --larger $codec_batch --seconds $codec_seconds
wait $encoder
say 'codec, speaker encoder'

while [ ! -e "$work/more.spoken" ] && kill -0 $speaking 2>/dev/null; do sleep 0.5; done
trained few more
encode more
(cd "$tools" && "$python" -m metavoice_voice.join "$work/part" "$work/few" "$work/more") >>"$log" 2>&1
trained few part
say 'coded a part'
voice decoder $(on part) --larger $decoder_batch --seconds $decoder_seconds &
decoder=$!
# At its full rate until all speech is there.
(cd "$tools" && exec "$python" -m metavoice_voice first-stage $(on part) --larger $first_batch --seconds 100000 --threads 2) >>"$log" 2>&1 &
first=$!
wait $speaking
trained few most
encode most
(cd "$tools" && "$python" -m metavoice_voice.join "$work/all" "$work/few" "$work/more" "$work/most") >>"$log" 2>&1
kill -TERM $first
wait $first
trained few all
cp "$work"/part/state/first-stage.* "$work/all/state/"
say 'coded all'
voice second-stage $(on all) --larger $second_batch --seconds $second_seconds &
second=$!
so_far=$("$python" -c "import torch; print(int(torch.load('$work/all/state/first-stage.pt', weights_only=True, map_location='cpu')['seconds']))")
voice first-stage $(on all) --larger $first_batch --seconds $((so_far + seconds - $(now) - tail_seconds))
say 'first stage'
wait $second $decoder
cp "$work"/part/state/decoder.* "$work/all/state/"
voice export $(on all) --out "$work/plain"
say 'exported, before the decoder is refined'
cp "$work"/all/state/{first,second}-stage.pt "$work/part/state/"
voice refine $(on part) --larger $decoder_batch --seconds $refine_seconds
cp "$work"/part/state/decoder-refined.* "$work/all/state/"
voice export $(on all) --out "$work/bundled"
say 'exported'
grep -h 'foretold rightly\|Error\|error:\|wrote' "$log"
for name in first-stage second-stage decoder; do tail -n 1 "$work/all/state/$name.jsonl"; done
