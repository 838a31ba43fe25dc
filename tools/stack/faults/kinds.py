"""The faults: what each runs on, and what it does. Each says when it began and when it was over."""

import shutil
import time

import servers
import wire

KINDS = {}

# So often a node dies that dies in a send.
LIVES = 3


class Kind:
    """`on` as CHIRM_TEST_ON has it; `link` is the part that is cut off; `node` is for supervised.sh."""

    def __init__(self, act, on="redis", link=None, kills=0, node=None, has_clock=False):
        self.act, self.on, self.link, self.kills = act, on, link, kills
        self.node, self.has_clock = node or {}, has_clock


def kind(name, **options):
    """Makes a function a fault."""

    def add(act):
        KINDS[name] = Kind(act, **options)
        return act

    return add


def restart(part, seconds):
    def act(run):
        run.begin()
        run.stack.call("down", part)
        time.sleep(seconds)
        run.end(run.stack.up_until_it_answers(part))

    return act


def killed(part):
    def act(run):
        run.begin()
        run.stack.kill(part)
        run.end(run.stack.up_until_it_answers(part))

    return act


def frozen(part, seconds):
    def act(run):
        run.begin()
        run.stack.freeze(part, seconds)
        run.end()

    return act


def linked(word, seconds):
    def act(run):
        run.begin()
        run.link.do(word)
        time.sleep(seconds)
        run.link.do("pass")
        run.end()

    return act


kind("redis-restart-3s")(restart("redis", 3))
kind("redis-restart-20s")(restart("redis", 20))


@kind("redis-older-snapshot")
def redis_older_snapshot(run):
    """Redis comes back with what it had some seconds before."""
    redis = wire.Redis(run.stack.environment["CHIRM_TEST_REDIS_OPERATOR"])
    saved = redis.do("LASTSAVE")
    while redis.do("LASTSAVE") == saved:
        # Times are in seconds, and one save may be under way.
        time.sleep(1.1)
        try:
            redis.do("BGSAVE")
        except wire.Refused:
            continue
        time.sleep(0.5)
    redis.close()
    time.sleep(4)
    run.begin()
    run.stack.kill("redis")
    data = run.stack.folder / "data" / "redis"
    log = data / "appendonlydir"
    owner = log.stat()
    shutil.rmtree(log)
    log.mkdir()
    base = "appendonly.aof.1.base.rdb"
    (data / "dump.rdb").rename(log / base)
    manifest = log / "appendonly.aof.manifest"
    manifest.write_text(f"file {base} seq 1 type b\n")
    for path in (log, log / base, manifest):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    run.end(run.stack.up_until_it_answers("redis"))


kind("redis-frozen-20s")(frozen("redis", 20))


@kind("redis-flushall")
def redis_flushall(run):
    redis = wire.Redis(run.stack.environment["CHIRM_TEST_REDIS_OPERATOR"])
    run.begin()
    redis.do("FLUSHALL")
    run.end()
    redis.close()


@kind("redis-kill-pubsub")
def redis_kill_pubsub(run):
    redis = wire.Redis(run.stack.environment["CHIRM_TEST_REDIS_OPERATOR"])
    run.begin()
    cut = 0
    for _ in range(5):
        cut += redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(1.5)
    run.end()
    redis.close()
    run.note(f"{cut} connections were cut")
    run.check(cut > 0, "no connection for events was there to be cut")


def masters(run):
    """Each master's connection, by its node's id, with the slots that it has."""
    found = {}
    for url in wire.redis_urls("redis-cluster", run.stack.environment):
        redis = wire.Redis(url)
        for line in redis.do("CLUSTER", "NODES").decode().splitlines():
            fields = line.split()
            if "myself" in fields[2] and "master" in fields[2]:
                slots = [word.split("-") for word in fields[8:] if not word.startswith("[")]
                found[fields[0]] = (redis, [(int(slot[0]), int(slot[-1])) for slot in slots])
    return found


def master_of(run, slot):
    """The node that has a slot, its connection, and another master's."""
    found = masters(run)
    own = next(node for node, (_, slots) in found.items() if any(a <= slot <= b for a, b in slots))
    other = next(node for node in found if node != own and found[node][1])
    return own, found[own][0], other, found[other][0]


@kind("cluster-master-killed", on="redis-cluster")
def cluster_master_killed(run):
    """The prober's own master; its heir takes writes again when it has a replica, which is the killed one."""
    _, redis, _, _ = master_of(run, wire.topic_slot(run.prober.channel))
    name = next(name for name in run.cluster_names()
                if (run.stack.folder / "ports" / name).read_text().split()[0] == str(redis.port))
    run.begin()
    run.stack.kill(name)
    time.sleep(10)
    run.end(run.stack.up_until_it_answers("redis-cluster"))


@kind("cluster-slot-moved", on="redis-cluster")
def cluster_slot_moved(run):
    """The prober's own slot goes to another master, its keys one by one, over some seconds."""
    slot = wire.topic_slot(run.prober.channel)
    own, source, other, target = master_of(run, slot)
    run.begin()
    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", own)
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", other)
    moved, end = 0, time.monotonic() + 30
    while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 10):
        run.check(time.monotonic() < end, "keys of the slot come as fast as they are moved")
        source.do("MIGRATE", target.host, target.port, "", 0, 5000, "AUTH2", target.user,
                  target.password, "KEYS", *keys)
        moved += len(keys)
        time.sleep(0.1)
    for redis, _ in [(target, 0), (source, 0), *masters(run).values()]:
        redis.do("CLUSTER", "SETSLOT", slot, "NODE", other)
    run.end()
    run.note(f"{moved} keys were moved")


kind("cql-restart")(restart("cql", 0))
kind("cql-killed")(killed("cql"))
kind("cql-frozen-20s")(frozen("cql", 20))


@kind("cql-refuses-a-table")
def cql_refuses_a_table(run):
    """For 10 s a key of `messages` has another name, so each statement of that table is refused."""
    cql = wire.Cql(run.stack.environment["CHIRM_TEST_CQL"])
    table = f"{run.namespace}.messages"
    run.begin()
    cql.run(f"ALTER TABLE {table} RENAME message_id TO message_id_away")
    time.sleep(10)
    cql.run(f"ALTER TABLE {table} RENAME message_id_away TO message_id")
    run.end()
    cql.close()


# Each second write is applied, and answered as one that took too long.
kind("cql-times-out-applied", link="cql")(linked("lie", 10))
kind("postgres-restart")(restart("postgres", 0))
kind("postgres-killed")(killed("postgres"))
kind("postgres-frozen-20s")(frozen("postgres", 20))


@kind("node-killed", kills=1)
def node_killed(run):
    """The replay itself kills its node as kill -9 does, in its middle, and starts it again."""
    while servers.runs(run.node_pid):
        run.check(run.replay.poll() is None, "the replay ended before the node was killed")
        time.sleep(0.005)
    run.begin()
    run.end(run.node_answers())


def dies(run):
    """The node dies in the middle of a send, three times; the last time is the one that is measured."""
    for death in range(1, LIVES + 1):
        while run.deaths() < death:
            run.check(run.replay.poll() is None, "the replay ended before the node died")
            time.sleep(0.005)
        run.begin()
        run.end(run.node_answers())
    run.note(f"the node died {LIVES} times")


for step in ("reserved", "persisted", "published"):
    kind(f"node-dies-{step}", node={"NODE_DIES_AT": f"{step}:350", "NODE_LIVES": str(LIVES)})(dies)


def clock_off(*offsets):
    """The node's wall clock is set so far off, one after another, for some seconds each, and right again."""

    def act(run):
        run.begin()
        for seconds in offsets:
            run.set_clock(seconds)
            time.sleep(6)
        run.set_clock(0)
        run.end()

    return act


kind("clock-2s", has_clock=True)(clock_off(2, -2))
kind("clock-10min", has_clock=True)(clock_off(600, -600))

for part in ("redis", "cql", "postgres"):
    kind(f"link-cut-{part}", link=part)(linked("cut", 10))
    kind(f"link-slow-{part}", link=part)(linked("slow", 10))

kind("nats-restart", on="nats")(restart("nats", 3))
kind("nats-frozen", on="nats")(frozen("nats", 10))
