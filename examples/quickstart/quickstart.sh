#!/bin/sh
# Real data sets through the shell: smongo import, a server, mongosh one-liners, kill -9, smongo export.
#   examples/quickstart/quickstart.sh [BINARY [DIRECTORY WITH THE DATA SETS]]
# The data sets are those of the PyPI package vega-datasets, found through $PYTHON (python3); mongosh through $MONGOSH, .tools/node or the PATH.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${1:-$root/target/release/smongo}
sets=${2:-$("${PYTHON:-python3}" -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("vega_datasets").origin))')/_data}
home=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill -9 "$server" 2>/dev/null || true; fi; rm -rf "$home"' EXIT

serve() {
    : > "$home/ready"
    "$bin" serve --dbpath "$home/data" --port 0 > "$home/ready" &
    server=$!
    until grep -q ' ready: ' "$home/ready"; do
        kill -0 "$server" || { echo "the server did not start" >&2; exit 1; }
        sleep 0.1
    done
    uri=$(sed -n 's/.* ready: //p' "$home/ready")
}

expect() { # what it is, what it should be, what it is
    echo "  $1: $3"
    [ "$2" = "$3" ] || { echo "    WRONG: expected $2" >&2; exit 1; }
}

echo "Import into the directory, without a server"
"$bin" import --dbpath "$home/data" --db quickstart --collection airports --headerline --file "$sets/airports.csv"
echo "Import into a running server"
serve
"$bin" import --uri "$uri" --db quickstart --collection cars --file "$sets/cars.json"
"$bin" import --uri "$uri" --db quickstart --collection weather --headerline --file "$sets/seattle-weather.csv"

mongosh=${MONGOSH:-$root/.tools/node/node_modules/.bin/mongosh}
[ -x "$mongosh" ] || mongosh=$(command -v mongosh || true)
ask() { "$mongosh" --quiet --norc "${uri%%/\?*}/quickstart?directConnection=true" --eval "$1"; }
lines() { "$bin" export --uri "$uri" --db quickstart "$@" | wc -l | tr -d ' '; }

if [ -n "$mongosh" ]; then
    echo "Ask through mongosh"
    expect "index" state_1_latitude_-1 "$(ask 'db.airports.createIndex({state: 1, latitude: -1})')"
    expect "airports of Alaska" "$(grep -c ',AK,USA,' "$sets/airports.csv")" "$(ask 'db.airports.countDocuments({state: "AK"})')"
    ask 'db.cars.aggregate([{$group: {_id: "$Origin", mpg: {$avg: "$Miles_per_Gallon"}, cars: {$sum: 1}}}, {$sort: {cars: -1}}])'
    ask 'db.weather.find({weather: "snow"}, {_id: 0, date: 1, temp_min: 1}).sort({temp_min: 1, date: 1}).limit(3)'
    expect "one document more, on disk" true "$(ask 'db.airports.insertOne({_id: "mine", state: "AK"}, {writeConcern: {w: 1, j: true}}).acknowledged')"
    more=1
else
    echo "mongosh was not found: its part is left out"
    more=0
fi

echo "kill -9, reopen"
kill -9 "$server"
wait "$server" 2>/dev/null || true
serve
expect "airports" "$(($(wc -l < "$sets/airports.csv") - 1 + more))" "$(lines --collection airports)"
expect "airports of Alaska" "$(($(grep -c ',AK,USA,' "$sets/airports.csv") + more))" "$(lines --collection airports --query '{"state": "AK"}')"
expect "days of snow" "$(grep -c ',snow' "$sets/seattle-weather.csv")" "$(lines --collection weather --query '{"weather": "snow"}')"
expect "cars" "$(grep -c '"Name"' "$sets/cars.json")" "$(lines --collection cars)"
kill "$server"
wait "$server"
server=
echo "quickstart.sh: everything is right"
