import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct CertificateTests {
  @Test func `A server's certificate holds under its names and addresses, and for no device`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server", "--host", "coap.example.org", "--host", "192.0.2.7", "--host", "2001:db8::7")
      #expect(try await here.verify("server.pem", "-purpose", "sslserver", "-verify_hostname", "coap.example.org").isSuccess)
      #expect(try await here.verify("server.pem", "-purpose", "sslserver", "-verify_ip", "192.0.2.7").isSuccess)
      #expect(try await here.verify("server.pem", "-purpose", "sslserver", "-verify_ip", "2001:db8::7").isSuccess)
      #expect(try await !here.verify("server.pem", "-verify_hostname", "localhost").isSuccess)
      #expect(try await !here.verify("server.pem", "-purpose", "sslclient").isSuccess)
    }
  }

  @Test func `Without --host a server's certificate holds on this machine`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server")
      #expect(try await here.verify("server.pem", "-verify_hostname", "localhost").isSuccess)
      #expect(try await here.verify("server.pem", "-verify_ip", "127.0.0.1").isSuccess)
      #expect(try await here.verify("server.pem", "-verify_ip", "::1").isSuccess)
    }
  }

  @Test func `A device's certificate names project and device, and holds for no server`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "device", "sensor-1", "--project", "Gewächshaus")
      #expect(try await here.verify("sensor-1.pem", "-purpose", "sslclient").isSuccess)
      #expect(try await !here.verify("sensor-1.pem", "-purpose", "sslserver").isSuccess)
      let subject = try await here.read("sensor-1.pem", "-subject", "-nameopt", "sep_comma_plus,utf8,sname")
      #expect(subject == "subject=O=Gewächshaus,CN=sensor-1")
    }
  }

  @Test func `OpenSSL reads each key, and it is the one in the certificate`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server")
      try await here.make("issue", "device", "sensor-1")
      for name in ["ca", "server", "sensor-1"] {
        let key = try await run(program: "openssl", ["pkey", "-pubout", "-in", here.path("\(name).key")]).output
        #expect(key.first == "-----BEGIN PUBLIC KEY-----")
        #expect(try await here.read("\(name).pem", "-pubkey") == key.joined(separator: "\n"))
      }
      #expect(Set([try here.text("ca.key"), try here.text("server.key"), try here.text("sensor-1.key")]).count == 3)
    }
  }

  @Test func `Serial numbers have twenty octets and differ`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      var serials: Set = [try await here.read("ca.pem", "-serial")]
      for _ in 1...5 {
        try await here.make("issue", "server", "--force")
        serials.insert(try await here.read("server.pem", "-serial"))
      }
      #expect(serials.count == 6)
      for serial in serials {
        let digits = serial.dropFirst("serial=".count)
        #expect(digits.count == 40)
        #expect(["4", "5", "6", "7"].contains(digits.first))
      }
    }
  }

  @Test func `Private keys are their owner's alone, whatever the umask`() async throws {
    try await withCertificates { here in
      for command in ["init", "issue server", "issue device sensor-1", "issue device sensor-1 --force"] {
        let made = try await run(
          program: "sh", ["-c", #"umask 0; exec "$0" certs \#(command) --dir "$1""#, RunningCommand.deviceRPC, here.directory.path])
        try #require(made.isSuccess, "\(made.error)")
      }
      #expect(here.files == ["ca.key", "ca.pem", "sensor-1.key", "sensor-1.pem", "server.key", "server.pem"])
      for name in here.files { #expect(try here.mode(name) == (name.hasSuffix(".key") ? 0o600 : 0o644), "\(name)") }
      #expect(try here.mode("") == 0o700)
    }
  }

  @Test func `A key that takes the place of a readable one is not readable`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server")
      try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: here.path("server.key"))
      try await here.make("issue", "server", "--force")
      #expect(try here.mode("server.key") == 0o600)
    }
  }

  @Test func `An expired certificate is seen as such`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "device", "sensor-1", "--valid-from", "2020-01-01", "--days", "1")
      let verified = try await here.verify("sensor-1.pem")
      #expect(!verified.isSuccess)
      #expect(verified.error.contains { $0.contains("certificate has expired") })
      let shown = try await run(["certs", "show", here.path("sensor-1.pem")]).output
      #expect(shown.contains("valid    2020-01-01T00:00:00Z to 2020-01-02T00:00:00Z (expired)"))
    }
  }

  @Test func `A certificate is valid since a day ago, and not longer than its CA`() async throws {
    try await withCertificates { here in
      try await here.make("init", "--days", "10")
      try await here.make("issue", "device", "sensor-1", "--days", "400")
      let yesterday = Int(Date().timeIntervalSince1970) - 86_400
      #expect(try await here.verify("sensor-1.pem", "-attime", "\(yesterday + 1)").isSuccess)
      #expect(try await !here.verify("sensor-1.pem", "-attime", "\(yesterday - 60)").isSuccess)
      let end = try await here.read("ca.pem", "-enddate")
      #expect(try await here.read("sensor-1.pem", "-enddate") == end)
    }
  }

  @Test func `A certificate of another CA is refused, even of one with the same name`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await withCertificates { other in
        try await other.make("init")
        try await other.make("issue", "device", "sensor-1")
        #expect(try await other.verify("sensor-1.pem").isSuccess)
        let verified = try await here.verify("sensor-1.pem", in: other)
        #expect(verified.error.contains { $0.contains("unable to get local issuer certificate") })
        #expect(!verified.isSuccess)
      }
    }
  }

  @Test func `Nothing is overwritten without --force`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server")
      try FileManager.default.removeItem(atPath: here.path("server.pem"))
      let before = [try here.text("ca.pem"), try here.text("ca.key"), try here.text("server.key")]
      let again = try await here.certs("init")
      #expect(again.error == ["Error: \(here.path("ca.key")) exists; --force replaces it"])
      #expect(again.code == 1)
      #expect(again.output.isEmpty)
      // One file of two is in the way of both.
      #expect(try await here.certs("issue", "server").code == 1)
      #expect([try here.text("ca.pem"), try here.text("ca.key"), try here.text("server.key")] == before)
      #expect(here.files == ["ca.key", "ca.pem", "server.key"])

      try await here.make("init", "--force")
      #expect(try here.text("ca.key") != before[1])
      try await here.make("issue", "server", "--force")
      #expect(try await here.verify("server.pem").isSuccess)
    }
  }

  @Test func `Of two CAs that are made at once, one is whole and the other one refused`() async throws {
    try await withCertificates { here in
      async let first = here.certs("init")
      async let second = here.certs("init")
      #expect(try await [first.code, second.code].compactMap(\.self).sorted() == [0, 1])
      try await here.make("issue", "server")
      #expect(here.files == ["ca.key", "ca.pem", "server.key", "server.pem"])
    }
  }

  @Test func `Without a CA the error says how to make one`() async throws {
    try await withCertificates { here in
      let issued = try await here.certs("issue", "device", "sensor-1")
      let path = here.directory.path
      #expect(
        issued.error == ["Error: there is no CA in \(path); make one first: device-rpc certs init --dir \(path)"])
      #expect(issued.code == 1)
      #expect(!FileManager.default.fileExists(atPath: path))
    }
  }

  @Test func `A CA that is expired, or whose files do not fit, is refused`() async throws {
    try await withCertificates { here in
      let path = here.directory.path
      let advice = "; make a new one: device-rpc certs init --dir \(path) --force"
      func refusal() async throws -> String? {
        let issued = try await here.certs("issue", "server")
        #expect(issued.code == 1)
        #expect(issued.error.count == 1)
        return issued.error.first
      }
      try await here.make("init", "--valid-from", "2020-01-01", "--days", "1")
      #expect(
        try await refusal()
          == "Error: the CA in \(path) cannot be used, the certificate has expired, at 2020-01-02T00:00:00Z" + advice)
      let key = try here.text("ca.key")
      try await here.make("init", "--force")
      try key.write(toFile: here.path("ca.key"), atomically: true, encoding: .utf8)
      #expect(
        try await refusal() == "Error: the CA in \(path) cannot be used, the key does not belong to the certificate" + advice)
      try "".write(toFile: here.path("ca.key"), atomically: true, encoding: .utf8)
      #expect(
        try await refusal() == "Error: the CA in \(path) cannot be used, the key is not one of P-256 in PEM form" + advice)
      try FileManager.default.removeItem(atPath: here.path("ca.key"))
      #expect(try await refusal() == "Error: cannot read \(here.path("ca.key")): No such file or directory")
    }
  }

  @Test(
    "The files of a device with an odd name are its own, and in the directory",
    arguments: [
      ("a/b", "a%2Fb"), ("../up", "%2E.%2Fup"), ("..", "%2E."), ("Pümpe 7", "Pümpe%207"), ("ca", "%63a"), ("Server", "%53erver"),
      ("$(id)", "%24%28id%29"), ("100%", "100%25"), ("sensor-1@project", "sensor-1@project"), ("a=b,O=c", "a%3Db%2CO%3Dc"),
    ])
  func oddName(_ name: String, _ file: String) async throws {
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "device", name)
      #expect(here.files == ["ca.key", "ca.pem", "\(file).key", "\(file).pem"].sorted())
      #expect(try await here.verify("\(file).pem", "-purpose", "sslclient").isSuccess)
      let subject = try await here.read("\(file).pem", "-subject", "-nameopt", "sep_multiline,utf8,sname")
      #expect(subject.hasSuffix("CN=\(name)"))
    }
  }

  @Test func `A name that begins with a hyphen comes after two of them`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      let issued = try await run(["certs", "issue", "device", "--dir", here.directory.path, "--", "-x"])
      #expect(issued.isSuccess)
      #expect(here.files.contains("%2Dx.pem"))
    }
  }

  @Test func `show tells what is in each certificate of a file`() async throws {
    try await withCertificates { here in
      try await here.make("init", "--name", "Bench 3")
      try await here.make("issue", "server", "--host", "coap.example.org", "--host", "192.0.2.7", "--host", "2001:db8::7")
      let fingerprint = try await here.read("server.pem", "-fingerprint", "-sha256").split(separator: "=").last
      let serial = try await here.read("server.pem", "-serial").split(separator: "=").last
      let chain = here.path("chain.pem")
      try (here.text("server.pem") + here.text("ca.pem")).write(toFile: chain, atomically: true, encoding: .utf8)
      let lines = try await run(["certs", "show", chain]).output
      #expect(lines.count == 14)
      #expect(lines.starts(with: ["subject  CN=coap.example.org", "issuer   CN=Bench 3"]))
      #expect(lines[2].dropFirst(9).replacing(":", with: "") == serial ?? "")
      #expect(lines[4] == "names    DNS:coap.example.org, IP:192.0.2.7, IP:2001:db8::7")
      #expect(lines[5] == "use      server")
      #expect(lines[6] == "SHA-256  \(fingerprint ?? "")")
      #expect(lines[8] == "subject  CN=Bench 3")
      #expect(lines[12] == "use      certificate authority")
    }
  }

  @Test func `show says what a file is that holds no certificate`() async throws {
    try await withCertificates { here in
      try await here.make("init")
      let key = try await run(["certs", "show", here.path("ca.key")])
      #expect(key.error == ["Error: \(here.path("ca.key")) holds a PRIVATE KEY, not a certificate"])
      #expect(key.code == 1)
      let directory = try await run(["certs", "show", here.directory.path])
      #expect(directory.error == ["Error: cannot read \(here.directory.path): Is a directory"])
      let nothing = try await run(["certs", "show", "/dev/null"])
      #expect(nothing.error == ["Error: /dev/null holds no certificate in PEM form"])
    }
  }

  @Test(
    "Wrong usage is exit code 64",
    arguments: [
      ["init", "--days", "0"], ["init", "--name", ""], ["issue", "server", "--host", "1.2.3"],
      ["issue", "server", "--host", "a b"], ["issue", "server", "--host", ""], ["issue", "device"],
      ["issue", "device", "a\nb"], ["issue", "device", "a\u{200b}"], ["issue", "device", "cafe\u{301}"], ["issue", "device", String(repeating: "x", count: 65)],
      ["issue", "device", "x", "--project", ""], ["issue", "device", "x", "--valid-from", "yesterday"], ["show"],
    ])
  func usage(_ arguments: [String]) async throws {
    let finished = try await run(["certs"] + arguments)
    #expect(finished.code == 64)
    #expect(finished.error.first?.hasPrefix("Error: ") == true)
  }

  @Test("Help has examples", arguments: [[], ["init"], ["issue"], ["issue", "server"], ["issue", "device"], ["show"]])
  func help(_ command: [String]) async throws {
    let finished = try await run(["certs"] + command + ["--help"])
    #expect(finished.output.contains { $0.hasPrefix("  device-rpc certs ") })
    #expect(finished.isSuccess)
  }
}
