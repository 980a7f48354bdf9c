"""Mints, counts, lists and is refused, with a client that openapi-python-client has made from the document."""

import sys

from snowtide_api import Client
from snowtide_api.api.counters import batch, get, increment, list_counters
from snowtide_api.api.ids import decode_id, mint_ids
from snowtide_api.models import BatchRequest, CounterList, CounterValue, IdsRequest, Incremented, IncrementRequest, Problem

KEY = "generated/ключ?&#%"

with Client(base_url=sys.argv[1]) as client:
    minted = mint_ids.sync(client=client, body=IdsRequest(count=3))
    assert len(set(minted.ids)) == 3, minted
    assert decode_id.sync(minted.ids[0], client=client).id == minted.ids[0]

    for repeated in (None, "true"):
        answer = increment.sync_detailed(
            "default", KEY, client=client, body=IncrementRequest(by="9007199254740993"), idempotency_key='"generated"'
        )
        assert isinstance(answer.parsed, Incremented) and answer.parsed.value == "9007199254740993", answer
        assert answer.headers.get("idempotent-replayed") == repeated, answer

    read = get.sync("default", KEY, client=client, view="regions", snowtide_token=answer.headers["snowtide-token"])
    assert isinstance(read, CounterValue) and read.value == "9007199254740993", read
    assert len(read.view.regions) == 1, read

    operations = [
        {"increment": {"namespace": "default", "key": KEY, "by": -1}},
        {"get": {"namespace": "nowhere", "key": KEY}},
    ]
    results = batch.sync(client=client, body=BatchRequest.from_dict({"operations": operations})).results
    assert [result.status for result in results] == [200, 404], results

    listed, options = {}, {}
    while True:
        page = list_counters.sync("default", client=client, prefix="generated/", limit=1, **options)
        assert isinstance(page, CounterList), page
        listed.update({counter.key: counter.value for counter in page.counters})
        if not page.next_cursor:
            break
        options = {"cursor": page.next_cursor}
    assert listed == {KEY: "9007199254740992"}, listed

    refused = get.sync_detailed("nowhere", KEY, client=client)
    assert isinstance(refused.parsed, Problem) and refused.parsed.code == "unknown_namespace", refused
    assert refused.parsed.request_id == refused.headers["x-request-id"], refused

print("Python: minted, counted once, read, listed, refused")
