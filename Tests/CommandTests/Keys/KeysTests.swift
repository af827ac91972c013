import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct KeysTests {
  private static let devices = "http://127.0.0.1:8080/v1/devices"

  @Test func `a key is shown once, with a line that uses it`() async throws {
    try await withData { data in
      let added = try await data.keys("add", "billing")
      #expect(added.code == 0)
      #expect(added.error.isEmpty)
      let line = try #require(added.output.first { $0.hasPrefix("key  ") })
      let match = try #require(line.wholeMatch(of: /key {6}(drpc_([a-z0-9]{8})_([A-Za-z0-9_-]{43}))/))
      let (key, id, secret) = (String(match.1), String(match.2), String(match.3))
      #expect(
        added.output == [
          "billing added to \(data.directory)", "id       \(id)", "may      call, read", "devices  all", "expires  never",
          "key      \(key)", "The key is not shown again.", "", "to see devices with it:",
          "curl -H 'Authorization: Bearer \(key)' http://127.0.0.1:8080/v1/devices",
        ])
      for arguments in [["list"], ["list", "--json"], ["revoke", "nobody"]] {
        let shown = try await data.keys(arguments)
        #expect(!(shown.output + shown.error).joined().contains(secret))
      }
      let store = try data.store()
      defer { store.close() }
      #expect(store.apiKey(id: id)?.name == "billing")
      #expect(store.apiKey(id: id)?.permissions == .standard)
      #expect(APIKeyText(key)?.id == id)
    }
  }

  @Test func `keys are listed in aligned columns, with what they may do and until when`() async throws {
    try await withData { data in
      #expect(try await data.keys("list").code == 1)
      for arguments in [
        ["add", "operator", "--call", "--read", "--admin"], ["add", "dash", "--read", "--expires", "2100-01-31"],
        ["add", "restarter", "--devices", "sensor-1, plant-*", "--devices", "pump", "--methods", "reboot,erase"],
      ] { #expect(try await data.keys(arguments).code == 0) }
      let store = try data.store()
      _ = try await store.addAPIKey(name: "late", expires: Date(timeIntervalSince1970: 1_790_000_000), permissions: .none)
      let keys = try await store.apiKeys()
      store.close()
      let rows = try await data.keys("list").output.map { row in
        // Ids and times of creation differ each time.
        keys.reduce(row) { $0.replacing($1.id, with: "idididid").replacing(readable($1.created), with: "created at the time") }
      }
      #expect(
        rows == [
          "name       id        may                         devices                  created              expires",
          "dash       idididid  read                        all                      created at the time  2100-01-31 00:00:00",
          "late       idididid  nothing                     none                     created at the time  "
            + "expired 2026-09-21 14:13:20",
          "operator   idididid  call, read, administer      all                      created at the time  never",
          "restarter  idididid  call erase or reboot, read  pump, sensor-1, plant-*  created at the time  never",
        ])
    }
  }

  private func readable(_ date: Date) -> String {
    date.formatted(.iso8601).replacing("T", with: " ").replacing("Z", with: "")
  }

  @Test(
    arguments: [
      ([], APIPermissions.standard), (["--call"], APIPermissions(allowsReading: false)),
      (["--read"], APIPermissions(methods: .none)),
      (["--admin"], APIPermissions(methods: .none, allowsReading: false, allowsAdministering: true)),
      (["--call", "--read", "--admin"], .all),
      (["--methods", "reboot"], APIPermissions(methods: .only(["reboot"]))),
      (["--methods", "reboot", "--methods", "*"], .standard),
      (["--read", "--methods", "reboot, erase"], APIPermissions(methods: .only(["reboot", "erase"]))),
      (["--devices", "a,b"], APIPermissions(devices: .only(names: ["a", "b"]))),
      (["--devices", "plant-*", "--read"], APIPermissions(devices: .only(names: [], prefixes: ["plant-"]), methods: .none)),
      (["--devices", "a,*"], .standard),
    ])
  func `options say what a key may do`(options: [String], permissions: APIPermissions) async throws {
    try await withData { data in
      #expect(try await data.keys(["add", "a"] + options).code == 0)
      let store = try data.store()
      defer { store.close() }
      #expect(try await store.apiKeys().map(\.permissions) == [permissions])
    }
  }

  @Test(
    arguments: [
      ("--call", "curl -H 'Authorization: Bearer KEY' --json '{\"method\": \"METHOD\"}' \(devices)/DEVICE/calls"),
      ("--read", "curl -H 'Authorization: Bearer KEY' \(devices)"), ("--admin", "The key is not shown again."),
    ])
  func `the line that uses a key is one that it may`(option: String, line: String) async throws {
    try await withData { data in
      let output = try await data.keys("add", "a", option).output
      #expect(output.last?.replacing(/drpc_[a-z0-9]{8}_[A-Za-z0-9_-]{43}/, with: "KEY") == line)
    }
  }

  @Test func `an expiry is a time from now, or a day`() async throws {
    try await withData { data in
      for (text, seconds) in [("90d", 7_776_000.0), ("12h", 43_200)] {
        let now = Date()
        let key = try await data.keyObject("add", text, "--expires", text, "--json")
        let expires = try Date(try #require(key["expires"] as? String), strategy: .iso8601)
        #expect(abs(expires.timeIntervalSince(now) - seconds) < 60)
      }
      for (text, expires) in [
        ("2100-02-28", "2100-02-28T00:00:00Z"), ("2100-01-31T12:00:01Z", "2100-01-31T12:00:01Z"),
      ] {
        #expect(try await data.keyObject("add", text, "--expires", text, "--json")["expires"] as? String == expires)
      }
    }
  }

  @Test func `programs get JSON`() async throws {
    try await withData { data in
      let added = try await data.keyObject("add", "a b", "--devices", "pump,plant-*", "--read", "--json")
      let id = try #require(added["id"] as? String)
      #expect(added["name"] as? String == "a b")
      #expect((added["key"] as? String)?.hasPrefix("drpc_\(id)_") == true)
      #expect(added["expires"] is NSNull)
      #expect(added["expired"] as? Bool == false)
      let permissions = try #require(added["permissions"] as? [String: Any])
      #expect(permissions["devices"] as? [String: [String]] == ["names": ["pump"], "prefixes": ["plant-"]])
      #expect(permissions["methods"] as? [String] == [])
      #expect(permissions["read"] as? Bool == true)
      #expect(permissions["administer"] as? Bool == false)
      let list = try await data.keys("list", "--json").output
      #expect(list.count == 1)
      let keys = try #require(try JSONSerialization.jsonObject(with: Data(list[0].utf8)) as? [[String: Any]])
      #expect(keys.map { $0["id"] as? String } == [id])
      #expect(keys.map(\.count) == [added.count - 1], "all but the key")
    }
  }

  @Test func `a revoked key is gone, and the last one is told`() async throws {
    try await withData { data in
      let id = try #require(try await data.keyObject("add", "a", "--json")["id"] as? String)
      #expect(try await data.keys("add", "b").code == 0)
      #expect(try await data.keys("revoke", id).output == ["a is revoked"])
      let last = try await data.keys("revoke", "b")
      #expect(last.output == ["b is revoked", "It was the last key: on loopback, a server now answers without one."])
      #expect(last.code == 0)
      #expect(try await data.keys("list").output == ["no keys; to add one: device-rpc keys add billing --data \(data.directory)"])
    }
  }

  @Test func `a store that is open sees what the command does`() async throws {
    try await withData { data in
      let store = try DeviceStore(directory: data.directory)
      defer { store.close() }
      var changes = store.apiKeyChanges().makeAsyncIterator()
      let id = try #require(try await data.keyObject("add", "a", "--json")["id"] as? String)
      while store.apiKey(id: id) == nil { try #require(await changes.next() != nil) }
      #expect(try await data.keys("revoke", "a").code == 0)
      while store.apiKey(id: id) != nil { try #require(await changes.next() != nil) }
    }
  }
}
