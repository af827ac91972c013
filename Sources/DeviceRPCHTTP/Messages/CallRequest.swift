internal import DeviceRPC
internal import Hummingbird

/// The members of a body, taken one after the other: one that nobody has taken is refused.
struct Members {
  private let object: RPCObject
  private var taken: Set<String> = []

  init(_ value: RPCValue) throws(Problem) {
    guard case .object(let object) = value else { throw Problem(.invalidRequest, "The body must be a JSON object.") }
    self.object = object
  }

  mutating func take(_ name: String) -> RPCValue? {
    taken.insert(name)
    return object[name]
  }

  mutating func string(_ name: String) throws(Problem) -> String? {
    guard let value = take(name) else { return nil }
    guard case .string(let text) = value else { throw Self.wrong(name, "a string") }
    return text
  }

  mutating func bool(_ name: String) throws(Problem) -> Bool? {
    guard let value = take(name) else { return nil }
    guard case .bool(let bool) = value else { throw Self.wrong(name, "true or false") }
    return bool
  }

  /// A time in seconds, not negative and at most a day.
  mutating func seconds(_ name: String) throws(Problem) -> Duration? {
    guard let value = take(name) else { return nil }
    guard let seconds = value.doubleValue, (0...86_400).contains(seconds) else {
      throw Self.wrong(name, "a number of seconds from 0 to 86400")
    }
    return .seconds(seconds)
  }

  /// All members must have been taken.
  func end() throws(Problem) {
    guard let unknown = object.keys.first(where: { !taken.contains($0) }) else { return }
    throw Problem(
      .invalidRequest, "The member \"\(unknown.prefix(64))\" is unknown; known are \(taken.sorted().joined(separator: ", ")).",
      members: [("member", .string(String(unknown.prefix(64))))])
  }

  static func wrong(_ name: String, _ what: String) -> Problem {
    Problem(.invalidRequest, "The member \"\(name)\" must be \(what).", members: [("member", .string(name))])
  }
}

/// What the body of a request asks for.
struct CallRequest: Sendable {
  let call: Call
  /// Nil for a call that is not persistent.
  let persistence: CallPersistence?

  init(_ call: Call, _ persistence: CallPersistence? = nil) {
    self.call = call
    self.persistence = persistence
  }

  init(body: RPCValue) throws(Problem) {
    var members = try Members(body)
    guard let method = try members.string("method") else {
      throw Problem(.invalidRequest, "The member \"method\" is missing.", members: [("member", "method")])
    }
    guard !method.isEmpty else { throw Members.wrong("method", "a string that is not empty") }
    // Firmware in C would read only what is before it.
    guard !method.utf8.contains(0) else { throw Members.wrong("method", "a string without U+0000") }
    var params: RPCValue = []
    if let given = members.take("params") {
      guard case .array = given else { throw Members.wrong("params", "a list") }
      params = given
    }
    let persistence = try members.take("persistent").map { value throws(Problem) in try CallPersistence(value) }
    self.init(
      Call(
        method, params: params, timeout: try members.seconds("timeout"), wait: try members.seconds("wait") ?? .zero,
        isOneWay: try members.bool("oneWay") ?? false), persistence)
    try members.end()
  }
}

extension CallPersistence {
  /// The longest time for which a call may be kept: a year.
  static let longest = 31_536_000.0
  static let mostAttempts = 1_000_000

  fileprivate init(_ value: RPCValue) throws(Problem) {
    guard case .object = value else { throw Members.wrong("persistent", "an object") }
    self.init()
    var members = try Members(value)
    if let given = members.take("expires") {
      guard let seconds = given.doubleValue, (0.001...Self.longest).contains(seconds) else {
        throw Members.wrong("expires", "a number of seconds from 0.001 to \(Int(Self.longest))")
      }
      expires = .seconds(seconds)
    }
    if let given = members.take("attempts") {
      guard let count = given.intValue, (1...Self.mostAttempts).contains(count) else {
        throw Members.wrong("attempts", "a whole number from 1 to \(Self.mostAttempts)")
      }
      attempts = count
    }
    isRepeatable = try members.bool("repeatable") ?? false
    try members.end()
  }
}

/// What a client prefers about how long a request takes (RFC 7240).
struct Preference: Equatable {
  /// How long to wait for the end of a call; nil for as long as it takes.
  var wait: Duration?
  /// What was taken into account, for the header Preference-Applied.
  var applied: String?

  /// The first of several preferences of the same name counts (RFC 7240 §2). What is unknown or malformed is ignored.
  init(_ headers: [String]) {
    var isAsync = false
    var seconds: Double?
    for preference in headers.flatMap({ $0.split(separator: ",") }) {
      let parts = preference.prefix { $0 != ";" }.split(separator: "=", maxSplits: 1).map(Self.trimmed)
      switch parts.first?.lowercased() {
      case "respond-async": isAsync = true
      case "wait" where seconds == nil && parts.count == 2:
        let digits = parts[1].drop { $0 == "\"" }.prefix { $0 != "\"" }
        seconds = Int32(digits).flatMap { $0 >= 0 ? Double($0) : nil }
      default: break
      }
    }
    if let seconds {
      wait = .seconds(seconds)
      applied = (isAsync ? "respond-async, " : "") + "wait=\(Int(seconds))"
    } else if isAsync {
      wait = .zero
      applied = "respond-async"
    }
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text.drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return text
  }
}
