"""Counts through the door of the Redis protocol with redis-py as it is, in both versions of the protocol."""

import sys

import redis

host, port = sys.argv[1].rsplit(":", 1)

for protocol in (2, 3):
    client = redis.Redis(host=host, port=int(port), protocol=protocol, decode_responses=True)
    key = f"redis-py {protocol}"

    # The default pipeline is a transaction.
    pipeline = client.pipeline()
    pipeline.incr(key).incrby(key, 10).get(key).ping()
    assert pipeline.execute() == [1, 11, "11", True]
    with client.pipeline(transaction=False) as pipeline:
        assert pipeline.incr(key).incr(key).execute() == [12, 13]
    assert client.pipeline().execute() == []

    # What is refused on its way in counts nothing.
    for refuse in (lambda p: p.set(key, 1), lambda p: p.incr(".."), lambda p: p.execute_command("NONSENSE")):
        pipeline = client.pipeline()
        pipeline.incr(key)
        refuse(pipeline)
        try:
            sys.exit(f"it was not refused: {pipeline.execute()}")
        except redis.ResponseError as error:
            assert "refused" not in str(error), error
    # What fails when it is carried out fails alone.
    pipeline = client.pipeline()
    pipeline.incr(key).execute_command("INCRBY", key, "x").incr(key)
    first, failed, last = pipeline.execute(raise_on_error=False)
    assert (first, last) == (14, 15) and isinstance(failed, redis.ResponseError), (first, failed, last)
    assert client.get(key) == "15", client.get(key)

    try:
        with client.pipeline() as pipeline:
            pipeline.watch(key)
        sys.exit("WATCH was not refused")
    except redis.ResponseError as error:
        assert "increments commute" in str(error), error

    rows = client.command()
    assert len(rows) == client.command_count() and {"incr", "multi", "client"} <= set(rows), rows
    incr = rows["incr"]
    assert incr["arity"] == 2 and set(incr["flags"]) == {"write", "denyoom", "fast"}, incr
    assert incr["first_key_pos"] == incr["last_key_pos"] == incr["step_count"] == 1, incr
    assert {"@write", "@string", "@fast"} == {str(one) for one in incr["acl_categories"]}, incr
    assert len(incr["key_specifications"]) == 1 and len(rows["client"]["subcommands"]) == 4, rows
    assert sorted(client.command_list()) == sorted(rows)
    client.close()

print("redis-py: pipelines, transactions, commands, in both versions of the protocol")
