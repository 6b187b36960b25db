# For scripts that test the program, which source it with PATH_OF_CHORUS as their first argument: a folder of their own, which
# they are then in, and what several of them do. They end with `exit $failed`.
chorus=$(realpath "$1")
failed=0
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1

fail() { echo "$*" >&2; failed=1; }
# refuse WORDS ARGUMENTS...: exit code 2, and one line with the words.
refuse() {
  words=$1
  shift
  "$chorus" "$@" > out 2> err
  got=$?
  [ $got -eq 2 ] && [ "$(wc -l < err)" -eq 1 ] && grep -qF -- "$words" err ||
    fail "chorus $*: exit code $got, expected 2 and '$words'; it said: $(cat err)"
}
# toy_run EXPERTS: train.xx and train.yy of two words turned round, both in dev.tsv, and a run.toml that only writes its model.
toy_run() {
  awk 'BEGIN { n = split("alpha beta gamma delta epsilon zeta eta theta iota kappa", w, " ")
    for (i = 0; i < 100; i++) {
      a = w[i % n + 1]; b = w[int(i / n) % n + 1]
      print a, b > "train.xx"; print b, a > "train.yy"; print a "\t" b > "dev.tsv" } }'
  cat > run.toml << END
threads = 1
[[data.train]]
files = "train.{lang}"
languages = ["xx", "yy"]
[data]
batch_tokens = 512
max_length = 24
[vocabulary]
size = 280
[model]
d_model = 64
encoder_layers = 2
decoder_layers = 2
attention_heads = 2
ffn_dim = 512
max_positions = 64
[moe]
experts = $1
[train]
duration = "0u"
END
}
