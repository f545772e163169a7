#!/usr/bin/env bash
# The whole workshop on one GPU in some nine minutes: what needs no other step runs beside it, and training begins before all
# is spoken.
#
#   tools/voice/on-gpu.sh WORK [SECONDS [RESULTS]]      520 seconds by default; results come to WORK/results
#
# WORK/lists (or WORK/lists.tar.gz) has the sentences where the machine lacks WordNet and the rest, WORK/packages has flite's
# Debian packages where flite is not installed; README.md says how both are made. PYTHON names a Python with PyTorch and numpy.
# RESULTS gets the model as soon as the first stage is trained (bundled/), then the decoder that was refined (refined.tar), curves
# and what the tests compare (rest.tar), and the log: 8 files, 35 MB, none lost when time runs out. The same command again goes on.
set -uo pipefail
began=$(date +%s) seconds=${2:-520}
work=$(mkdir -p "${1:?the folder to work in}" && cd "$1" && pwd) || exit
results=$(mkdir -p "${3:-$work/results}" && cd "${3:-$work/results}" && pwd) || exit
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) log=$results/log.txt
python=$(command -v "${PYTHON:-python3}") || { echo "expected a Python at '${PYTHON:-python3}'"; exit 1; }
[[ $python == /* ]] || python=$PWD/$python
export OMP_WAIT_POLICY=PASSIVE PYTHONUNBUFFERED=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
# Sentences of the first part, on which the codes are learned; batches of so many times the usual size; steps of others beside it.
few=${FEW:-4000} codec_batch=${CODEC_BATCH:-4} decoder_batch=${DECODER_BATCH:-2} first_batch=${FIRST_BATCH:-12} second_batch=${SECOND_BATCH:-10}
cores=$(nproc)
# Of the time, in percent: when a step is to end. Reckoned: coding a part of the sentences takes some 15 s after it is spoken.
declare -A spoken_by=([few]=12 [more]=18 [most]=31 [last]=45)
codec_by=20 encoder_by=17 decoder_by=62 second_by=66 first_by=82 refined_by=94

at() { echo $((began + seconds * $1 / 100)); }
say() { echo "$(($(date +%s) - began)) s  $*" | tee -a "$log"; }
run() { (cd "$tools" && exec "$python" -m "$@") >>"$log" 2>&1 || { say "failed, see the log: $*"; false; }; }
voice() { run metavoice_voice "$@" --work "$work" --curves "$work/curves"; }
train() { voice "$1" --until "$(at "$2")" --threads 2 "${@:3}"; }
# A second time it goes on from the last state that was saved.
again() { "$@" || "$@"; }
has() { [ -e "$work/$1" ]; }
alive() { kill -0 "$1" 2>/dev/null; }
give_up() { say "$*"; tail -n 30 "$log"; exit 1; }
trap 'end $$' EXIT

speak() { has "$1/train.index.json" || voice data --data "$work/$1" --until "$(at "${spoken_by[$1]}")" --threads "$2"; }
code() { has "$1/train.codes.json" || voice encode --data "$work/$1" --threads 2; }
# All parts but the first, each begun where the one before ended.
speak_on() {
  renice -n 19 "$BASHPID" >/dev/null
  local part before=few
  for part in more most last; do
    has "$part/train.json" || run metavoice_voice.parts slice "$work/lists" "$work/$part" "$work/$before" || return
    speak $part $((cores > 4 ? cores - 2 : cores)) || return
    before=$part
  done
}
# The codes of what is spoken so far come to to-more, to-most and to-last.
code_on() {
  local part parts=("$work/few")
  for part in more most last; do
    until has "$part/train.index.json"; do alive "$1" || has "$part/train.index.json" || return; sleep 0.3; done
    code $part || return
    parts+=("$work/$part")
    has "to-$part/train.sentences.npz" || run metavoice_voice.parts join "$work/to-$part" "${parts[@]}" || return
    say "coded: $part, $(grep -h "^to-$part:" "$log" | tail -n 1)"
  done
}
# pack NAME: the model as it is, and what its networks compute.
pack() { voice export --data "$work/few" --out "$work/$1" --golden "$work/$1.golden.safetensors" --device cpu --threads "$cores"; }
pack_rest() { (cd "$work" && tar -cf "$results/rest.tar" $(ls state/*.jsonl state/*.png bundled.golden.safetensors)) 2>>"$log"; }
end() { for child in $(pgrep -P "$1"); do end "$child"; kill "$child"; done; } 2>/dev/null

if ! command -v flite >/dev/null; then
  for file in "$work"/packages/*.deb; do dpkg -x "$file" "$work/unpacked"; done
  export PATH=$PATH:$work/unpacked/usr/bin
  export LD_LIBRARY_PATH=$(echo "$work"/unpacked/usr/lib/*-linux-gnu)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
flite -lv >>"$log" 2>&1 || give_up 'expected flite, installed or as Debian packages in WORK/packages'
has lists/train.json || ! has lists.tar.gz || tar -xzf "$work/lists.tar.gz" -C "$work"
has lists/tokenizer.json || run metavoice_voice.parts lists "$work/lists" 48000 2 || give_up 'no sentences'

has few/train.json || run metavoice_voice.parts slice "$work/lists" "$work/few" 0 "$few" || give_up 'no sentences'
speak few "$cores" || give_up 'nothing is spoken'
say 'spoken: few'
speak_on &
speaker=$!
has state/embeddings.npz || train speaker-encoder $encoder_by --data "$work/few" &
encoder=$!
has few/train.codes.json || again train codec $codec_by --data "$work/few" --larger "$codec_batch" || give_up 'no codes'
wait $encoder || give_up 'no speaker encoder'
say 'codec, speaker encoder'
code_on $speaker &
coder=$!
until has to-more/train.sentences.npz; do alive $coder || break; sleep 0.3; done
begin=to-more sound=more
has to-more/train.sentences.npz || begin=few sound=few
again train decoder $decoder_by --data "$work/$sound" --larger "$decoder_batch" &
decoder=$!
again train first-stage $first_by --data "$work/$begin" --later "$work/to-most" "$work/to-last" --larger "$first_batch" &
first=$!
wait $coder
all=$begin
for part in most last; do has "to-$part/train.sentences.npz" && all=to-$part; done
say "the second stage learns from $all"
again train second-stage $second_by --data "$work/$all" --larger "$second_batch" &
second=$!
wait $second $decoder
wait $first
say 'trained'
rm -f "$work/$sound/train.foretold.npy" "$work"/state/decoder-refined.*
if pack bundled; then
  mkdir -p "$results/bundled"
  cp "$work"/bundled/*.safetensors "$work/bundled/metavoice.json" "$results/bundled/"
  say 'exported, before the decoder is refined'
fi
pack_rest

if train refine $refined_by --data "$work/$sound" --larger "$decoder_batch" && pack refined; then
  tar -cf "$results/refined.tar" -C "$work" refined/codec.safetensors refined/metavoice.json refined.golden.safetensors
  say 'exported, the decoder refined'
fi
pack_rest
grep -h 'foretold rightly\|Error\|wrote' "$log"
for name in codec decoder decoder-refined second-stage first-stage; do tail -qn 1 "$work/state/$name.jsonl"; done
say 'done'
