# Runs as root in the emulated machine: the same engine on cgroup v2 and systemd. Every line states what it expects.
set -eu
fail() { echo "FAILED: $*"; hoist version || true; exit 1; }
step() { echo "-- $*"; }

[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || fail "this machine is not on cgroup v2"
mkdir -p /root/stack/image && cd /root/stack
cp /bin/busybox image/busybox
cat >image/Dockerfile <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
END
cat >compose.yaml <<'END'
name: smoke
services:
  web:
    build: ./image
    image: smoke/busybox
    command: ["sh", "-c", "mkdir -p /www && hostname >/www/index.html && echo serving && exec httpd -f -p 8080 -h /www"]
    ports: ["8080:8080"]
    restart: unless-stopped
  hungry:
    image: smoke/busybox
    depends_on: [web]
    mem_limit: 32m
    command: ["sh", "-c", "echo eating; x=x; while :; do x=$$x$$x; done"]
  crowd:
    image: smoke/busybox
    depends_on: [web]
    pids_limit: 12
    command: ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 1000 & done; echo all forked; wait"]
END

links_before=$(ip -o link | wc -l)
mounts_before=$(wc -l </proc/self/mountinfo)

step "a small stack is up and its port answers"
hoist up -d --build || fail "up"
curl -sf --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/ || fail "the published port does not answer"

step "a memory limit kills, and says so"
[ "$(hoist wait hungry)" = 137 ] || fail "hungry was not killed at its memory limit: $(hoist ps -a)"

step "a pids limit holds"
hoist logs crowd 2>&1 | grep -q "all forked" && fail "crowd forked past its limit"
hoist logs crowd 2>&1 | grep -qi "fork" || fail "crowd did not meet its limit: $(hoist logs crowd 2>&1)"

step "a killed container is restarted"
before=$(hoist ps -q web)
pid=$(pgrep -f 'httpd -f -p 8080' | head -1)
kill -9 "$pid"
curl -sf --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/ >/dev/null || fail "web did not come back"
[ "$(hoist ps -q web)" = "$before" ] || fail "web was replaced instead of restarted"

step "logs are kept over the restart"
[ "$(hoist logs --no-log-prefix web | grep -c serving)" = 2 ] || fail "logs: $(hoist logs web)"

step "exec"
[ "$(hoist exec -T web sh -c 'echo inside; exit 3' || echo "code $?")" = "inside
code 3" ] || fail "exec"

step "down leaves nothing"
hoist down -v -t 1 || fail "down"
[ "$(ip -o link | grep -vc 'hb-')" -ge "$links_before" ] || fail "links vanished"
[ "$(ip -o link | grep -cE ' (hb-|hv)')" = 0 ] || fail "links left: $(ip -o link)"
[ -z "$(find /sys/fs/cgroup/hoist -mindepth 1 -type d 2>/dev/null)" ] || fail "cgroups left"
[ "$(wc -l </proc/self/mountinfo)" = "$mounts_before" ] || fail "mounts left: $(cat /proc/self/mountinfo)"
[ -z "$(pgrep hoist-shim)" ] || fail "shims left"
[ -z "$(nft list ruleset | grep 'dnat')" ] || fail "published ports left: $(nft list ruleset)"
echo "ok: the smoke test passed on cgroup v2"
