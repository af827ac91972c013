import DeviceRPC
import DeviceRPCTesting
import Foundation
import HTTPTypes
import Testing
import TestSupport

@testable import DeviceRPCHTTP

extension API.Answer {
  /// Whether it is this problem, with its status.
  func isProblem(_ kind: ProblemKind) -> Bool { type == kind.path && status == kind.status.code }

  var identities: [String]? { self["registration"]?["credentials"]?.arrayValue?.compactMap { $0["identity"]?.stringValue } }
}

@Suite(.timeLimit(.minutes(1))) struct AdministrationTests {
  private let pin = (0..<32).map { UInt8($0) }.hexadecimal

  @Test func `a device is put once, and is there until it is deleted`() async throws {
    let registry = InMemoryRegistry()
    try await withAPI(administration: registry) { (api) async throws in
      let place = "/v1/devices/sensor-1"
      #expect(try await api.get(place).isProblem(.unknownDevice))
      let added = try await api.ask(.put, place)
      #expect(added.status == 201 && added["name"] == "sensor-1" && added["state"] == "offline")
      #expect(added["registration"]?["enabled"] == true && added.identities == [] && added["key"] == nil)
      for key in ["since", "address", "dialect", "firstSeen", "lastHeard"] { #expect(added[key] == RPCValue.null, "\(key)") }
      #expect(added["evidence"] == "it has never connected" && added["openCalls"] == 0)
      #expect(added.header("Content-Type") == "application/json" && added.header("Cache-Control") == "no-store")
      for body in [nil, "{}"] {
        let again = try await api.ask(.put, place, body)
        #expect(again.status == 200 && again.json == added.json)
      }
      #expect(try await api.get(place).json == added.json)
      #expect(try await api.get("/v1/devices")["devices"] == [added.json])
      let deleted = try await api.ask(.delete, place)
      #expect(deleted.status == 204 && deleted.text.isEmpty)
      #expect(try await api.get(place).isProblem(.unknownDevice))
      #expect(try await api.ask(.delete, place).isProblem(.unknownDevice))
      #expect(try await api.get("/v1/devices")["devices"] == [])
    }
  }

  @Test func `a device is put with its credential, which may be sent again`() async throws {
    let registry = InMemoryRegistry(["other": "other@lab"])
    try await withAPI(administration: registry) { (api) async throws in
      let place = "/v1/devices/a"
      let body = #"{"credential":{"kind":"psk","identity":"a@lab","key":"supersecret"}}"#
      let added = try await api.ask(.put, place, body)
      #expect(added.status == 201 && added.identities == ["a@lab"])
      #expect(!added.text.contains("supersecret"))
      #expect(try registry.credentials(of: "a").map(\.proof) == [.preSharedKey(try #require(DeviceKey("supersecret".utf8)))])
      #expect(try await api.ask(.put, place, body).status == 200)
      // A key that the server would make is another one.
      for other in [
        #"{"credential":{}}"#, #"{"credential":{"identity":"a@lab","key":"other"}}"#,
        #"{"credential":{"identity":"a","key":"supersecret"}}"#,
      ] {
        let refused = try await api.ask(.put, place, other)
        #expect(refused.isProblem(.alreadyExists) && refused["credential"] == "psk")
        #expect(refused["detail"] == #""a" has a key already."#)
      }
      let pinned = try await api.ask(.put, place, "{\"credential\":{\"kind\":\"x509\",\"fingerprint\":\"\(pin)\"}}")
      #expect(pinned.status == 200 && pinned.identities == ["a@lab", "a"])
      // The name of the other device is not told.
      let taken = try await api.ask(.put, "/v1/devices/b", #"{"credential":{"identity":"other@lab","key":"k"}}"#)
      #expect(taken.isProblem(.alreadyExists) && taken["credential"] == nil)
      #expect(taken["detail"] == #"The identity "other@lab" is that of another device."#)
      #expect(try await api.get("/v1/devices/b").isProblem(.unknownDevice), "both is done, or neither")
      let made = try await api.ask(.put, "/v1/devices/c", #"{"credential":{}}"#)
      #expect(made.status == 201 && made.identities == ["c"])
      let key = try #require(made["key"]?.stringValue)
      #expect(key.wholeMatch(of: /[0-9a-f]{32}/) != nil)
      #expect(try registry.credentials(of: "c").map(\.proof) == [.preSharedKey(try #require(DeviceKey(key.utf8)))])
      #expect(try await api.get("/v1/devices/c")["key"] == nil, "it is shown once")
    }
  }

  @Test func `a credential is added, listed without its key, and rotated`() async throws {
    let registry = InMemoryRegistry(["a": ""])
    try await withAPI(administration: registry) { (api) async throws in
      let place = "/v1/devices/a"
      #expect(try await api.get("\(place)/credentials").json == ["credentials": []])
      #expect(try await api.ask(.post, "\(place)/rotate").isProblem(.unknownCredential))
      let added = try await api.ask(.post, "\(place)/credentials", #"{"identity":"a@lab"}"#)
      let first = try #require(added["key"]?.stringValue)
      #expect(added.status == 201 && added.identities == ["a@lab"])
      #expect(try await api.ask(.post, "\(place)/credentials").isProblem(.alreadyExists))
      let certificate = "{\"kind\":\"x509\",\"identity\":\"a.lab\",\"fingerprint\":\"\(pin.lowercased())\"}"
      let pinned = try await api.ask(.post, "\(place)/credentials", certificate)
      #expect(pinned.status == 201 && pinned["key"] == nil)
      let list = try await api.get("\(place)/credentials")
      #expect(list.status == 200 && !list.text.contains(first))
      let credentials = try #require(list["credentials"]?.arrayValue)
      #expect(credentials.map { $0["kind"] } == ["psk", "x509"] && credentials.map { $0["fingerprint"] } == [.null, .string(pin)])
      #expect(credentials.allSatisfy { $0.objectValue?.keys == ["kind", "identity", "fingerprint", "created", "rotated"] })
      let rotated = try await api.ask(.post, "\(place)/rotate")
      let second = try #require(rotated["key"]?.stringValue)
      #expect(rotated.status == 200 && second != first && rotated.identities == ["a@lab", "a.lab"])
      let given = try await api.ask(.post, "\(place)/rotate", #"{"identity":"a@plant","key":"supersecret"}"#)
      #expect(given.identities == ["a@plant", "a.lab"] && given["key"] == nil)
      #expect(try registry.credentials(of: "a")[0].proof == .preSharedKey(try #require(DeviceKey("supersecret".utf8))))
      let other = [UInt8](repeating: 9, count: 32)
      let digits = other.hexadecimal.replacing(":", with: "")
      #expect(try await api.ask(.post, "\(place)/rotate", "{\"kind\":\"x509\",\"fingerprint\":\"\(digits)\"}").status == 200)
      #expect(try registry.credentials(of: "a")[1].proof == .certificate(fingerprint: other))
      // It would accept any certificate of that name.
      #expect(try await api.ask(.post, "\(place)/rotate", #"{"kind":"x509"}"#)["member"] == "fingerprint")
    }
  }

  @Test func `a device is disabled and enabled`() async throws {
    try await withAPI(administration: InMemoryRegistry(["a": "a"])) { (api) async throws in
      for (path, isEnabled) in [("disable", false), ("disable", false), ("enable", true)] {
        for body in [nil, "{}"] {
          let answer = try await api.ask(.post, "/v1/devices/a/\(path)", body)
          #expect(answer.status == 200 && answer["registration"]?["enabled"] == .bool(isEnabled) && answer.identities == ["a"])
        }
        #expect(try await api.get("/v1/devices/a")["registration"]?["enabled"] == .bool(isEnabled))
      }
      for path in ["enable", "disable", "rotate", "credentials"] {
        #expect(try await api.ask(.post, "/v1/devices/nobody/\(path)").isProblem(.unknownDevice), "\(path)")
      }
      #expect(try await api.get("/v1/devices/nobody/credentials").isProblem(.unknownDevice))
    }
  }

  // MARK: What is refused

  @Test(arguments: [
    ("PUT", "", #"{"credentials":{}}"#, "credentials"), ("PUT", "", #"{"enabled":false}"#, "enabled"),
    ("PUT", "", #"{"credential":{"kye":"k"}}"#, "kye"), ("PUT", "", #"{"credential":null}"#, "credential"), ("POST", "/credentials", #"{"Key":"k"}"#, "Key"),
    ("POST", "/credentials", #"{"kind":"psk","fingerprint":"00"}"#, "fingerprint"),
    ("POST", "/credentials", #"{"kind":"x509","key":"k"}"#, "key"), ("POST", "/credentials", #"{"kind":"PSK"}"#, "kind"),
    ("POST", "/credentials", #"{"key":""}"#, "key"), ("POST", "/credentials", #"{"key":7}"#, "key"),
    ("POST", "/credentials", #"{"identity":null}"#, "identity"),
    ("POST", "/credentials", "{\"key\":\"\(String(repeating: "k", count: 65))\"}", "key"),
    ("POST", "/credentials", #"{"kind":"x509","fingerprint":"zz"}"#, "fingerprint"),
    ("POST", "/credentials", #"{"kind":"x509","fingerprint":"00:11"}"#, "fingerprint"),
    ("POST", "/credentials", "{\"kind\":\"x509\",\"fingerprint\":\"\(String(repeating: "0", count: 65))\"}", "fingerprint"),
    ("POST", "/credentials", "{\"kind\":\"x509\",\"fingerprint\":\"\(String(repeating: "+0", count: 32))\"}", "fingerprint"),
    ("POST", "/credentials", "{\"kind\":\"x509\",\"fingerprint\":\"\(String(repeating: "-0", count: 32))\"}", "fingerprint"),
    ("POST", "/rotate", #"{"kind":"psk","old":"k"}"#, "old"), ("POST", "/enable", #"{"enabled":true}"#, "enabled"),
    ("POST", "/disable", #"{"for":7}"#, "for"),
  ])
  func `a member that is wrong or unknown is named`(_ method: String, _ path: String, _ body: String, _ member: String) async throws {
    let registry = InMemoryRegistry(["a": ""])
    try await withAPI(administration: registry) { (api) async throws in
      let answer = try await api.ask(.init(method)!, "/v1/devices/a\(path)", body)
      #expect(answer.isProblem(.invalidRequest) && answer["member"] == .string(member), "\(answer.text)")
    }
    #expect(try registry.registeredDevice("a")?.credentials.isEmpty == true && registry.registeredDevice("a")?.isEnabled == true)
  }

  @Test func `bodies, queries, names and methods that are wrong are refused`() async throws {
    try await withAPI(administration: InMemoryRegistry(["a": ""])) { (api) async throws in
      for (method, path, body, kind) in [
        ("PUT", "/v1/devices/a", "{", .malformedJSON), ("PUT", "/v1/devices/a", "[]", .invalidRequest),
        ("PUT", "/v1/devices/a?x=1", nil, .invalidRequest), ("DELETE", "/v1/devices/a?force=1", nil, .invalidRequest),
        ("PUT", "/v1/devices/%20a", nil, .invalidRequest), ("PUT", "/v1/devices/a%00", nil, .invalidRequest),
        ("PUT", "/v1/devices/%ff", nil, .invalidRequest), ("PUT", "/v1/devices/u%CC%88", nil, .invalidRequest),
        ("PUT", "/v1/devices/\(String(repeating: "n", count: 256))", nil, .invalidRequest),
        ("POST", "/v1/devices/a/credentials", "{\"identity\":\"\(String(repeating: "i", count: 129))\"}", .invalidRequest),
        ("PUT", "/v1/devices", nil, .methodNotAllowed), ("PATCH", "/v1/devices/a", "{}", .methodNotAllowed),
        ("PUT", "/v1/devices/a/credentials", "{}", .methodNotAllowed), ("GET", "/v1/devices/a/rotate", nil, .methodNotAllowed),
        ("DELETE", "/v1/devices/a/credentials/psk", nil, .notFound), ("PUT", "/v1/devices/a/b", nil, .notFound),
        ("PUT", "/v1/devices/a", "{\"x\":\"\(String(repeating: "x", count: 1 << 20))\"}", .bodyTooLarge),
      ] as [(String, String, String?, ProblemKind)] {
        let answer = try await api.ask(.init(method)!, path, body)
        #expect(answer.isProblem(kind), "\(method) \(path.prefix(40)): \(answer.text.prefix(300))")
        #expect(answer.text.utf8.count < 1_500)
      }
      let form = try await api.ask(.put, "/v1/devices/a", "credential=x", headers: ["Content-Type": "application/x-www-form-urlencoded"])
      #expect(form.isProblem(.unsupportedMediaType))
      let untyped = try await api.ask(.put, "/v1/devices/a", "{}", headers: ["Content-Type": ""])
      #expect(untyped.isProblem(.unsupportedMediaType))
    }
  }

  @Test func `a server without a store says so, whoever asks`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("a") { _, _ in .ok() }
      #expect(try await api.get("/v1/devices/a")["registration"] == RPCValue.null)
      for (method, path) in Self.routes {
        #expect(try await api.ask(method, "/v1/devices/a\(path)").isProblem(.notImplemented), "\(method) \(path)")
      }
    }
  }

  static let routes: [(HTTPRequest.Method, String)] = [
    (.put, ""), (.delete, ""), (.get, "/credentials"), (.post, "/credentials"), (.post, "/rotate"), (.post, "/enable"),
    (.post, "/disable"),
  ]

  @Test func `what the registry could not do is in the log, and only there`() async throws {
    let log = RecordedLog()
    let registry = InMemoryRegistry(["a": "a"])
    registry.fail("/var/lib/devices.db is damaged")
    try await withAPI(administration: registry, log: log.logger) { (api) async throws in
      for (method, path) in Self.routes + [(.get, "")] {
        let answer = try await api.ask(method, "/v1/devices/a\(path)")
        #expect(answer.isProblem(.internalError) && !answer.text.contains("/var"), "\(method) \(path)")
      }
      #expect(try await api.get("/v1/devices").isProblem(.internalError))
    }
    #expect(log.lines.count { $0.metadata["error"] == "/var/lib/devices.db is damaged" } == 9)
  }
}
