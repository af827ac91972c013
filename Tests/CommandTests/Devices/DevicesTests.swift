import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct DevicesTests {
  @Test func `a device gets a key, which is shown once with what its firmware needs`() async throws {
    try await withData { data in
      let added = try await data.devices("add", "sensor-1", "--project", "lab", "--coap-host", "coap.example.org")
      #expect(added.code == 0)
      #expect(added.error.isEmpty)
      let line = try #require(added.output.first { $0.hasPrefix("key  ") })
      let key = String(try #require(line.wholeMatch(of: /key {7}([0-9a-f]{32})/)).1)
      #expect(added.output.contains("identity  sensor-1@lab"))
      let parts = added.output.split(separator: "", omittingEmptySubsequences: false).map(Array.init)
      let settings = [#"settings set golioth/psk-id "sensor-1@lab""#, #"settings set golioth/psk "\#(key)""#]
      #expect(
        parts[1...].map(Array.init) == [
          [
            "Zephyr with golioth-firmware-sdk, in prj.conf:",
            #"CONFIG_GOLIOTH_COAP_HOST_URI="coaps://coap.example.org:5684""#, "then in the device's shell, which keeps it:",
          ] + settings + ["kernel reboot cold"],
          [
            "ESP-IDF with golioth-firmware-sdk, in sdkconfig.defaults, whose client knows port 5684 only:",
            #"CONFIG_GOLIOTH_COAP_HOST_URI="coaps://coap.example.org""#, "CONFIG_GOLIOTH_SAMPLE_HARDCODED_CREDENTIALS=y",
            #"CONFIG_GOLIOTH_SAMPLE_PSK_ID="sensor-1@lab""#, #"CONFIG_GOLIOTH_SAMPLE_PSK="\#(key)""#,
            "or instead of the last three in the device's shell:",
          ] + settings + ["reset"],
          [
            "Linux with golioth-firmware-sdk, in golioth_user_config.h, whose client knows port 5684 only:",
            #"#define CONFIG_GOLIOTH_COAP_HOST_URI "coaps://coap.example.org""#, "and where it is started:",
            "export GOLIOTH_SAMPLE_PSK_ID=sensor-1@lab", "export GOLIOTH_SAMPLE_PSK=\(key)",
          ],
          [
            "to be the device from here:",
            "coap-client-openssl -w -s 600 -A 50 -u sensor-1@lab -k \(key) coaps://coap.example.org:5684/.rpc",
          ],
        ])
      for arguments in [["list"], ["list", "--json"], ["show", "sensor-1"], ["show", "sensor-1", "--json"]] {
        let shown = try await data.devices(arguments)
        #expect(shown.code == 0)
        #expect(shown.output.joined().contains("sensor-1@lab"))
        #expect(!shown.output.joined().contains(key))
      }
      let store = try data.store()
      defer { store.close() }
      #expect(
        store.credential(.preSharedKey, identity: "sensor-1@lab")?.proof
          == .preSharedKey(try #require(DeviceKey(key.utf8))))
    }
  }

  @Test func `devices are listed in aligned columns`() async throws {
    try await withData { data in
      #expect(try await data.devices("add", "pump-number-7", "--key", "k").code == 0)
      #expect(try await data.devices("add", "a", "--common-name", "a.lab").code == 0)
      #expect(try await data.devices("add", "a", "--key", "k", "--identity", "a@lab").code == 0)
      #expect(try await data.devices("disable", "a").output == ["a is disabled"])
      let store = try data.store()
      try await store.noteSeen(["a": Date(timeIntervalSince1970: 1_790_000_000)])
      store.close()
      #expect(
        try await data.devices("list").output == [
          "name           state     last seen            identities",
          "a              disabled  2026-09-21 14:13:20  psk a@lab, x509 a.lab",
          "pump-number-7  enabled   never                psk pump-number-7",
        ])
      #expect(try await data.devices("enable", "a").output == ["a is enabled"])
      #expect(try await data.devices("remove", "pump-number-7").output == ["pump-number-7 is removed"])
      #expect(try await data.devices("list").output.count == 2)
    }
  }

  @Test func `programs get JSON`() async throws {
    try await withData { data in
      let added = try await data.object("add", "sensor 1", "--key", #"a"b\c"#, "--json")
      #expect(added["name"] as? String == "sensor 1")
      #expect(added["key"] as? String == #"a"b\c"#)
      #expect(added["enabled"] as? Bool == true)
      #expect(added["lastSeen"] is NSNull)
      let credentials = try #require(added["credentials"] as? [[String: Any]])
      #expect(credentials.count == 1)
      #expect(credentials.first?["kind"] as? String == "psk")
      let rotated = try await data.object("rotate", "sensor 1", "--json")
      #expect((rotated["key"] as? String)?.count == 32)
      let shown = try await data.object("show", "sensor 1", "--json")
      #expect(shown["key"] == nil)
      let list = try await data.devices("list", "--json").output
      #expect(list.count == 1)
      let devices = try JSONSerialization.jsonObject(with: Data(list[0].utf8)) as? [[String: Any]]
      #expect(devices?.map { $0["name"] as? String } == ["sensor 1"])
    }
  }

  @Test func `a certificate is pinned, and another one of that name takes its place`() async throws {
    try await withCertificates { certificates in
      try await withData { data in
        try await certificates.make("init")
        try await certificates.make("issue", "device", "pump", "--project", "lab")
        try await certificates.make("issue", "device", "valve")
        let added = try await data.devices("add", "pump", "--certificate", certificates.path("pump.pem"))
        #expect(added.code == 0, "\(added.error)")
        let first = try await certificates.read("pump.pem", "-fingerprint", "-sha256").split(separator: "=").last
        #expect(added.output.contains("certificate  only that with SHA-256 \(try #require(first))"))
        #expect(added.output.contains("CONFIG_GOLIOTH_AUTH_METHOD_CERT=y"))
        #expect(added.output.last?.contains("-j \(certificates.path("pump.key")) -C \(certificates.path("ca.pem"))") == true)

        let foreign = try await data.devices("rotate", "pump", "--certificate", certificates.path("valve.pem"))
        #expect(foreign.code == 1)
        #expect(
          foreign.error == [
            "Error: \(certificates.path("valve.pem")) is the certificate of \"valve\"; \"pump\" has those of \"pump\""
          ])
        try await certificates.make("issue", "device", "pump", "--project", "lab", "--force")
        #expect(try await data.devices("rotate", "pump", "--certificate", certificates.path("pump.pem")).code == 0)
        let second = try await certificates.read("pump.pem", "-fingerprint", "-sha256").split(separator: "=").last
        #expect(second != first)
        let shown = try await data.devices("show", "pump").output.joined(separator: "\n")
        #expect(shown.contains("x509 identity  pump\n"))
        #expect(shown.contains(try #require(second)))

        let none = try await data.devices("add", "valve", "--certificate", certificates.path("valve.key"))
        #expect(none.error == ["Error: \(certificates.path("valve.key")) holds no certificate in PEM form"])
        #expect(none.code == 1)
        // A server's certificate has a DNS name, by which a bearer is known before its common name.
        try await certificates.make("issue", "server", "--host", "gate.lab")
        #expect(try await data.devices("add", "gate", "--certificate", certificates.path("server.pem")).code == 0)
        #expect(try await data.devices("show", "gate").output.contains { $0 == "x509 identity  gate.lab" })
        // And by the last one of several.
        let weir = certificates.path("weir.pem")
        let made = try await run(
          program: "openssl",
          [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=plant/CN=weir/O=CN=lab", "-out", weir, "-keyout", certificates.path("weir.key"),
          ])
        #expect(made.isSuccess)
        #expect(try await data.devices("add", "weir", "--certificate", weir).code == 0)
        #expect(try await data.devices("show", "weir").output.contains { $0 == "x509 identity  weir" })
      }
    }
  }

  @Test func `a command that is suggested can be typed as it is`() async throws {
    try await withCertificates { certificates in
      try await withData { data in
        try await certificates.make("init")
        for name in ["a", "-b"] {
          try await certificates.make("issue", "device", "of\(name)")
          let file = certificates.path("of\(name).pem")
          func devices(_ verb: String, _ options: String...) async throws -> Finished {
            try await run(["devices", verb, "--data", data.directory] + options + ["--", name])
          }
          #expect(try await devices("add", "--certificate", file).code == 0)
          try await certificates.make("issue", "device", "of\(name)", "--force")
          // It has another certificate, and no key.
          for failed in [try await devices("add", "--certificate", file), try await devices("rotate")] {
            let line = try #require(failed.error.first)
            let words = try #require(line.firstMatch(of: /: device-rpc (devices .*)$/), "\(line)").1.split(separator: " ")
            #expect(words.contains("FILE") == line.contains("a certificate already"))
            #expect(try await run(words.map { $0 == "FILE" ? file : String($0) }).code == 0, "\(line)")
          }
        }
        // A key, and no certificate.
        #expect(try await data.devices("add", "c", "--key", "k").code == 0)
        #expect(
          try await data.devices("rotate", "c", "--certificate", certificates.path("ofa.pem")).error == [
            "Error: \"c\" does not have a certificate; to give it one: "
              + "device-rpc devices add c --data \(data.directory) --certificate FILE"
          ])
      }
    }
  }

  @Test(
    arguments: [
      ("::1", "[::1]:5684"), ("2001:db8::7", "[2001:db8::7]:5684"), ("[::1]", "[::1]:5684"), ("[::1]:7", "[::1]:7"),
      ("192.0.2.7", "192.0.2.7:5684"), ("coap.example.org:65535", "coap.example.org:65535"),
    ])
  func `the server's address is written as a URI has it`(server: String, authority: String) async throws {
    try await withData { data in
      let added = try await data.devices("add", "a", "--coap-host", server)
      #expect(added.output.contains("CONFIG_GOLIOTH_COAP_HOST_URI=\"coaps://\(authority)\""))
      // The clients of ESP-IDF and Linux look up whatever stands there.
      let host = authority.replacing(/:[0-9]+$/, with: "")
      #expect(added.output.contains("CONFIG_GOLIOTH_COAP_HOST_URI=\"coaps://\(host)\""))
      #expect(added.output.contains("#define CONFIG_GOLIOTH_COAP_HOST_URI \"coaps://\(host)\""))
    }
  }

  @Test func `a key is read from standard input, which nobody else sees`() async throws {
    try await withData { data in
      for (typed, code) in [("", 1), ("a\u{7}", 1), ("supersecret", 0)] as [(String, Int32)] {
        try await withCommand("devices", "add", "a", "--key", "-", "--data", data.directory) { command in
          try command.type(typed)
          #expect(await command.exitCode() == code)
        }
      }
      let store = try data.store()
      defer { store.close() }
      #expect(
        store.credential(.preSharedKey, identity: "a")?.proof
          == .preSharedKey(try #require(DeviceKey("supersecret".utf8))))
    }
  }

  @Test func `files that others can read are closed to them, and that is told`() async throws {
    try await withData { data in
      #expect(try await data.devices("add", "a").code == 0)
      let file = data.directory + "/devices.sqlite"
      try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: file)
      let listed = try await data.devices("list")
      #expect(listed.code == 0)
      #expect(
        listed.error == ["warning: others could open a file with keys; now only its owner can (file: \(file))"])
      #expect(try await data.devices("list").error.isEmpty)
    }
  }

  @Test func `a store that is open sees what the command does`() async throws {
    try await withData { data in
      let store = try DeviceStore(directory: data.directory)
      defer { store.close() }
      var changes = store.changes().makeAsyncIterator()
      #expect(try await data.devices("add", "a", "--key", "k").code == 0)
      while store.credential(.preSharedKey, identity: "a") == nil { try #require(await changes.next() != nil) }
      #expect(try await data.devices("disable", "a").code == 0)
      while store.credential(.preSharedKey, identity: "a")?.isEnabled != false {
        try #require(await changes.next() != nil)
      }
    }
  }

  @Test func `many commands at once all succeed`() async throws {
    try await withData { data in
      try await withThrowingTaskGroup(of: Finished.self) { group in
        for number in 0..<8 { group.addTask { try await data.devices("add", "d\(number)", "--json") } }
        for try await finished in group { #expect(finished.code == 0, "\(finished.error)") }
      }
      #expect(try await data.devices("list").output.count == 9)
    }
  }

  @Test func `a command that is killed leaves the store as it was, or with its change`() async throws {
    try await withData { data in
      var said: [String] = []
      for number in 0..<12 {
        let command = try RunningCommand(
          ["devices", "add", "d\(number)", "--json", "--data", data.directory])
        // One is at its end, the next one has perhaps not begun.
        if number.isMultiple(of: 2), await command.line() != nil { said.append("d\(number)") }
        command.send(SIGKILL)
        _ = await command.exitCode()
      }
      let store = try data.store()
      defer { store.close() }
      let names = try await store.devices().map(\.name)
      #expect(said.count == 6)
      #expect(Set(names).isSuperset(of: said))
      #expect(try await store.devices().allSatisfy { $0.credentials.count == 1 })
    }
  }
}
