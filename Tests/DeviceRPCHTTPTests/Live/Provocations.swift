@testable import DeviceRPCHTTP

/// What the OpenAPI document says of an operation: one way in which it is answered.
struct DocumentedAnswer: Hashable, CustomStringConvertible {
  /// `createCall`.
  let operation: String
  let status: Int
  /// Nil for what is no problem.
  let kind: ProblemKind?

  var description: String { "\(operation) \(status)\(kind.map { " \($0.rawValue)" } ?? "")" }
}

/// A request that is answered in one documented way.
struct Provocation {
  /// Which server is asked.
  enum Place: CaseIterable {
    /// With keys, a registry, and what `TableCaller` knows.
    case usual
    /// With a registry in which everything fails.
    case failing
    /// Without a registry.
    case withoutRegistry
    /// With no room for readers of events.
    case full
    /// With little time for a body.
    case hasty
    /// Not ready to serve devices.
    case unready
    /// Where each key may send one request.
    case rated
  }

  let operation: String
  /// Nil for an answer that is no problem.
  var kind: ProblemKind?
  /// For answers that are no problems; the status of a problem is in the document.
  var status = 200
  var place = Place.usual
  /// What the names in the path stand for, where it is not as in `standardParameters`.
  var parameters: [String: String] = [:]
  var headers: [String: String] = [:]
  /// Instead of the sample for the schema.
  var body: String?
  /// The body of a request with the same headers that is sent first.
  var firstBody: String?

  static let standardParameters = ["device": "known", "project": "p", "id": "\(TableCaller.known)", "problem": "offline"]

  /// A body that each operation takes, by the schema of the document.
  static let sampleBodies = [
    "CallRequest": #"{"method":"ok"}"#, "GoliothCall": #"{"method":"ok"}"#, "GoliothNewDevice": #"{"name":"sample"}"#,
    "GoliothNewCredential": #"{"identity":"known@p","preSharedKey":"secret"}"#,
    "Metadata": #"{"metadata":{"panels":[]}}"#, "NewDevice": "{}", "NewCredential": "{}", "NextCredential": "{}", "Nothing": "{}",
  ]

  /// All but those that are provoked alike for every operation: `ProblemTableTests.provoke`. A new route adds its own here.
  static let all: [Provocation] =
    calls("createCall") { "{\"method\":\"\($0)\"}" } + calls("goliothCall") { "{\"method\":\"\($0)\",\"timeout\":5}" } + [
      Provocation(operation: "createCall", status: 202, headers: ["Prefer": "respond-async"], body: #"{"method":"open"}"#),
      Provocation(
        operation: "createCall", kind: .idempotencyKeyReused, headers: ["Idempotency-Key": "k"], body: #"{"method":"ok","params":[1]}"#,
        firstBody: #"{"method":"ok"}"#),
      Provocation(operation: "createCall", kind: .notKept, body: #"{"method":"not-kept","persistent":{}}"#),
      Provocation(operation: "createCall", kind: .expired, headers: ["Prefer": "wait=5"], body: #"{"method":"expired","persistent":{}}"#),
      Provocation(operation: "listCalls"),
      Provocation(operation: "listAllCalls"),
      Provocation(operation: "getCall"),
      Provocation(operation: "getCall", status: 304, headers: ["If-None-Match": "\"\(TableCaller.known)-ended\""]),
      Provocation(operation: "getCall", kind: .unknownCall, parameters: ["id": "x"]),
      Provocation(operation: "cancelCall"),
      Provocation(operation: "cancelCall", kind: .unknownCall, parameters: ["id": "x"]),
      Provocation(operation: "listDevices"),
      Provocation(operation: "getDevice"),
      Provocation(operation: "getDevice", kind: .unknownDevice, parameters: ["device": "nobody"]),
      Provocation(operation: "putDevice"),
      Provocation(operation: "putDevice", status: 201, parameters: ["device": "fresh"]),
      Provocation(operation: "putDevice", kind: .alreadyExists, body: #"{"credential":{"identity":"other@p"}}"#),
      Provocation(operation: "deleteDevice", status: 204, parameters: ["device": "doomed"]),
      Provocation(operation: "listCredentials"),
      Provocation(operation: "addCredential", status: 201, parameters: ["device": "bare"]),
      Provocation(operation: "addCredential", kind: .alreadyExists),
      Provocation(operation: "rotateCredential"),
      Provocation(operation: "rotateCredential", kind: .alreadyExists, body: #"{"identity":"other@p"}"#),
      Provocation(operation: "rotateCredential", kind: .unknownCredential, parameters: ["device": "keyless"]),
      Provocation(operation: "enableDevice"),
      Provocation(operation: "disableDevice"),
      Provocation(operation: "getMetadata"),
      Provocation(
        operation: "getMetadata", status: 304, parameters: ["device": "spare"], headers: ["If-None-Match": "*"]),
      Provocation(operation: "putMetadata"),
      Provocation(operation: "putMetadata", kind: .preconditionFailed, headers: ["If-Match": "\"other\""]),
      Provocation(operation: "followEvents"),
      Provocation(operation: "followEvents", kind: .limitExceeded, place: .full),
      Provocation(operation: "goliothProjects"),
      Provocation(operation: "goliothProject"),
      Provocation(operation: "goliothProject", kind: .notFound, parameters: ["project": "none"]),
      Provocation(operation: "goliothDevices"),
      Provocation(operation: "goliothCreateDevice", body: #"{"name":"new"}"#),
      Provocation(operation: "goliothCreateDevice", kind: .alreadyExists, body: #"{"name":"known"}"#),
      Provocation(operation: "goliothCreateDevice", kind: .notImplemented, place: .withoutRegistry),
      Provocation(operation: "goliothDevice"),
      Provocation(operation: "goliothDeleteDevice", parameters: ["device": "spare"]),
      Provocation(operation: "goliothDeleteDevice", kind: .notImplemented, place: .withoutRegistry),
      Provocation(operation: "goliothCredentials"),
      Provocation(operation: "goliothCredentials", kind: .notImplemented, place: .withoutRegistry),
      Provocation(operation: "goliothCreateCredential"),
      Provocation(
        operation: "goliothCreateCredential", kind: .alreadyExists, body: #"{"identity":"other@p","preSharedKey":"secret"}"#),
      Provocation(operation: "goliothCreateCredential", kind: .notImplemented, place: .withoutRegistry),
      Provocation(operation: "getHealth"),
      Provocation(operation: "getServer"),
      Provocation(operation: "getMetrics"),
      Provocation(operation: "getReadiness"),
      Provocation(operation: "getReadiness", status: 503, place: .unready),
      Provocation(operation: "getOpenAPI"),
      Provocation(operation: "listProblems"),
      Provocation(operation: "getProblem"),
      Provocation(operation: "getProblem", kind: .notFound, parameters: ["problem": "none"]),
    ]
    + ["goliothDevice", "goliothDeleteDevice", "goliothCredentials", "goliothCreateCredential"].map {
      Provocation(operation: $0, kind: .unknownDevice, parameters: ["device": "nobody"])
    }
    + [
      "deleteDevice", "listCredentials", "addCredential", "rotateCredential", "enableDevice", "disableDevice", "getMetadata",
      "putMetadata",
    ].map {
      Provocation(operation: $0, kind: .unknownDevice, parameters: ["device": "nobody"])
    }
    + ["putDevice", "deleteDevice", "listCredentials", "addCredential", "rotateCredential", "enableDevice", "disableDevice"].map {
      Provocation(operation: $0, kind: .notImplemented, place: .withoutRegistry)
    }

  /// What a call may be answered with: `TableCaller` takes the method for what comes of the call.
  private static func calls(_ operation: String, body: (String) -> String) -> [Provocation] {
    [Provocation(operation: operation, body: body("ok"))]
      + TableCaller.failures.map { kind in
        // A device that is in the registry is offline, and not unknown.
        Provocation(
          operation: operation, kind: kind, parameters: kind == .unknownDevice ? ["device": "nobody"] : [:], body: body(kind.rawValue))
      }
  }
}
