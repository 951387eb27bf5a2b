# Runs as root in the emulated machine: the same engine on cgroup v2 and systemd. Every line states what it expects.
set -eu
fail() { echo "FAILED: $*"; hoist version || true; exit 1; }
step() { echo "-- $*"; }

nothing_left() {
    [ "$(ip -o link | grep -cE ' (hb-|hv)')" = 0 ] || fail "links left: $(ip -o link)"
    [ -z "$(find /sys/fs/cgroup/hoist -mindepth 1 -type d 2>/dev/null)" ] || fail "cgroups left"
    [ -z "$(pgrep hoist-shim)" ] || fail "shims left"
    ! grep -qE '/(run|var/lib)/hoist' /proc/self/mountinfo || fail "mounts left: $(cat /proc/self/mountinfo)"
    ! nft list ruleset | grep -q dnat || fail "published ports left: $(nft list ruleset)"
    [ -z "$(ls /var/lib/hoist/containers /var/lib/hoist/volumes 2>/dev/null | grep -v :)" ] || fail "objects left"
}
answers() { curl -sf --retry 60 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/; }

if [ -e /root/stack/rebooted ]; then
    step "after a reset of the machine, what should run runs, and what was stopped stays stopped"
    cd /root/stack
    answers || fail "the published port does not answer after the reset: $(hoist ps -a)"
    [ "$(hoist ps -a --status exited -q quiet | wc -l)" = 1 ] || fail "quiet should stay stopped: $(hoist ps -a)"
    step "down leaves nothing"
    hoist down -v -t 1 || fail "down"
    nothing_left
    echo "ok: the smoke test passed on cgroup v2"
    exit 0
fi

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
  quiet:
    image: smoke/busybox
    restart: unless-stopped
    command: ["sleep", "1000"]
END

step "a small stack is up and its port answers"
hoist up -d --build || fail "up"
answers || fail "the published port does not answer"

step "a memory limit kills, and says so"
code=0; hoist wait hungry || code=$?
[ "$code" = 137 ] || fail "hungry was not killed at its memory limit: $(hoist ps -a)"

step "a pids limit holds"
hoist logs crowd 2>&1 | grep -q "all forked" && fail "crowd forked past its limit"
hoist logs crowd 2>&1 | grep -qi "fork" || fail "crowd did not meet its limit: $(hoist logs crowd 2>&1)"

step "a killed container is restarted"
before=$(hoist ps -q web)
# The whole command line: a part of it would match the shell that runs this script with `-c`, too.
pid=$(pgrep -fx 'httpd -f -p 8080 -h /www')
kill -9 "$pid"
answers >/dev/null || fail "web did not come back"
[ "$(hoist ps -q web)" = "$before" ] || fail "web was replaced instead of restarted"

step "logs are kept over the restart"
[ "$(hoist logs --no-log-prefix web | grep -c serving)" = 2 ] || fail "logs: $(hoist logs web)"

step "exec"
[ "$(hoist exec -T web sh -c 'echo inside; exit 3' || echo "code $?")" = "inside
code 3" ] || fail "exec"

step "down leaves nothing"
hoist down -v -t 1 || fail "down"
nothing_left

step "up again under the systemd unit, one service stopped by hand, then a reset without a farewell"
cp /payload/hoist.service /etc/systemd/system/
systemctl enable --now hoist.service || fail "the unit does not start: $(journalctl -u hoist --no-pager)"
hoist up -d || fail "up"
hoist stop -t 0 quiet || fail "stop"
sync
touch rebooted
sync rebooted
reboot -f -f
