"""ThingsBoard's own Python clients, tb-ce-client and tb-rest-client, against a server with --thingsboard.

Usage: thingsboard_clients.py URL USER PASSWORD. Adds a device, is that device over HTTP in a thread, and calls it as the clients do.
Prints "ok" when all of it was as it should be.
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request

from tb_ce_client import ThingsboardClient
from tb_ce_client.exceptions import ApiException as CEException
from tb_rest_client.rest import ApiException
from tb_rest_client.rest_client import RestClient

url, user, password = sys.argv[1:]


def expect(what, value, expected):
    if value != expected:
        raise SystemExit(f"{what}: {value!r}, not {expected!r}")


def fails(what, status, call, kind):
    try:
        call()
    except kind as error:
        expect(what, error.status, status)
        return error
    raise SystemExit(f"{what}: no error")


class Device(threading.Thread):
    """Asks for calls over HTTP, as in ThingsBoard's documentation, and answers them until it is stopped."""

    def __init__(self, token):
        super().__init__(daemon=True)
        self.root = f"{url}/api/v1/{token}/rpc"
        self.seen = []
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            try:
                with urllib.request.urlopen(f"{self.root}?timeout=500", timeout=20) as answer:
                    call = json.load(answer)
            except urllib.error.HTTPError as error:
                expect("a poll", error.code, 408)
                continue
            self.seen.append(call["method"])
            if call["method"] == "silent":
                continue
            result = json.dumps({"method": call["method"], "params": call["params"]}).encode()
            urllib.request.urlopen(urllib.request.Request(f"{self.root}/{call['id']}", data=result, method="POST"), timeout=20)


# tb-ce-client
from tb_ce_client import Device as DeviceModel  # noqa: E402

fails("a wrong password", 401, lambda: ThingsboardClient(url, username=user, password="wrong password"), CEException)
ce = ThingsboardClient(url, username=user, password=password)
added = ce.save_device(DeviceModel(name="pump", type="default"))
expect("the name", added.name, "pump")
device_id = str(added.id.id)
credentials = ce.get_device_credentials_by_device_id(device_id)
expect("the kind", credentials.credentials_type, "ACCESS_TOKEN")
expect("by name", str(ce.get_tenant_device_by_name("pump").id.id), device_id)
device = Device(credentials.credentials_id)
device.start()

two_way = json.dumps({"method": "get", "params": {"a": [1, True, None]}})
expected = {"method": "get", "params": {"a": [1, True, None]}}
for name in ("handle_two_way_device_rpc_request_v1", "handle_two_way_device_rpc_request_v2"):
    answer = getattr(ce, name + "_without_preload_content")(device_id, two_way)
    expect(name, (answer.status, json.loads(answer.data)), (200, expected))
one_way = json.dumps({"method": "set", "params": 1})
for name in ("handle_one_way_device_rpc_request_v1", "handle_one_way_device_rpc_request_v2"):
    answer = getattr(ce, name + "_without_preload_content")(device_id, one_way)
    expect(name, (answer.status, answer.data), (200, b""))
silent = json.dumps({"method": "silent", "timeout": 1, "params": None})
fails("V1 without an answer", 408, lambda: ce.handle_two_way_device_rpc_request_v1(device_id, silent), CEException)
fails("V2 without an answer", 504, lambda: ce.handle_two_way_device_rpc_request_v2(device_id, silent), CEException)
nobody = "00000000-0000-0000-0000-000000000000"
error = fails("an unknown device", 404, lambda: ce.handle_two_way_device_rpc_request_v2(nobody, two_way), CEException)
expect("its text", error.body, "Device with requested id wasn't found!")
fails("no method", 400, lambda: ce.handle_two_way_device_rpc_request_v2(device_id, "{}"), CEException)


def kept(make, method, **more):
    return make(json.dumps({"method": method, "params": {"x": 1}, "persistent": True, "expirationTime": int(time.time() * 1000) + 600000, **more}))


def until_over(get, rpc_id):
    for _ in range(200):
        rpc = get(rpc_id)
        if rpc.status not in ("QUEUED", "SENT", "DELIVERED"):
            return rpc
        time.sleep(0.05)
    raise SystemExit(f"a persistent call is still {rpc.status}")


made = kept(lambda body: ce.handle_two_way_device_rpc_request_v2_without_preload_content(device_id, body), "kept", additionalInfo={"why": "test"}, retries=2)
rpc_id = json.loads(made.data)["rpcId"]
rpc = until_over(ce.get_persisted_rpc, rpc_id)
expect("the state", rpc.status, "SUCCESSFUL")
raw = json.loads(ce.get_persisted_rpc_without_preload_content(rpc_id).data)
expect("the response", raw["response"], {"method": "kept", "params": {"x": 1}})
expect("the info", raw["additionalInfo"], {"why": "test"})
expect("the body", raw["request"]["body"], {"method": "kept", "params": '{"x":1}'})
expect("the retries", raw["request"]["retries"], 2)
page = json.loads(ce.get_persisted_rpc_by_device_without_preload_content(device_id, 10, 0, rpc_status="SUCCESSFUL").data)
expect("the list", ([rpc["id"]["id"] for rpc in page["data"]], page["totalElements"], page["hasNext"]), ([rpc_id], 1, False))
ce.delete_rpc(rpc_id)
fails("a deleted call", 404, lambda: ce.get_persisted_rpc(rpc_id), CEException)

# A request that is sent twice makes one call.
own = "6a7e1c9a-52a4-4c1e-9a55-000000000001"
for _ in range(2):
    joined = kept(lambda body: ce.handle_two_way_device_rpc_request_v2_without_preload_content(device_id, body), "once", requestUUID=own, expirationTime=2000000000000)
    expect("the id", json.loads(joined.data)["rpcId"], own)
expect("its end", until_over(ce.get_persisted_rpc, own).status, "SUCCESSFUL")
expect("it ran", device.seen.count("once"), 1)

# tb-rest-client
rest = RestClient(url)
rest.login(user, password)
expect("by name", rest.get_tenant_device("pump").id.id, device_id)
expect("two-way V1", rest.handle_two_way_device_rpc_request(device_id, json.loads(two_way)), expected)
expect("two-way V2", rest.handle_two_way_device_rpc_request_v1(device_id, json.loads(two_way)), expected)
expect("one-way", rest.handle_one_way_device_rpc_request(device_id, json.loads(one_way)), None)
fails("V1 without an answer", 408, lambda: rest.handle_two_way_device_rpc_request(device_id, json.loads(silent)), ApiException)
made = kept(lambda body: rest.handle_two_way_device_rpc_request_v1(device_id, json.loads(body)), "rest")
rest_id = made["rpcId"]
expect("the state", until_over(lambda id: rest.get_persisted_rpc(id), rest_id).status, "SUCCESSFUL")
page = rest.get_persisted_rpc_by_device(device_id, 10, 0)
expect("the list", page["totalElements"], 2)
rest.delete_rpc(rest_id)
fails("a deleted call", 404, lambda: rest.get_persisted_rpc(rest_id), ApiException)
device.stopped.set()
device.join()
print("ok")
