internal import CoAP
internal import DeviceRPC

/// A vendor's device API: its paths, and what is read from and written into its messages.
///
/// Who a device is, what it may answer, and how calls travel to it is not the dialect's business: see `DeviceAccess`.
protocol Dialect: Sendable {
  /// The paths that are always the same, without a leading slash.
  var paths: [String] { get }
  /// What `.well-known/core` lists (RFC 6690 §4): `</.rpc>;obs`.
  var links: [String] { get }
  /// What a peer is told that asks for a path of no dialect: "devices observe /.rpc".
  var hint: String { get }
  /// Whether a path, without a leading slash, is one of this dialect.
  func owns(_ path: String) -> Bool
  /// Answers a request for one of its paths. Nil defers the answer to `CoAPSession.respond(_:to:)`.
  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse?
  /// Whether `respond` is called for a request that exceeds its sender's rate; see `CoAPHandler`.
  func mayExceedRate(_ request: CoAPRequest) -> Bool
}

/// How calls are written for an observation. A class, since most devices share one.
protocol CallForm: AnyObject, Sendable {
  /// The name of the dialect for people, such as `Golioth, CBOR`.
  var dialect: String { get }
  var contentFormat: ContentFormat { get }
  /// Calls that may be sent and not have ended.
  var unansweredCalls: Int { get }
  /// Whether calls are sent in confirmable messages. If not, one-way calls have ended when they are sent.
  var isConfirmable: Bool { get }
  /// The Observe number of the first response; nil for one that is greater than any that the device has got before.
  var firstNumber: UInt32? { get }
  /// What an observer is told when its device has registered elsewhere; nil for nothing.
  var replaced: CoAPResponse? { get }
  /// Throws `CallError.invalidCall` for what the device could not read.
  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8]
}

extension CallForm {
  var isConfirmable: Bool { true }
  var firstNumber: UInt32? { nil }
  var replaced: CoAPResponse? { nil }
}

/// What a device has answered to a call.
struct DeviceAnswer: Sendable {
  /// The id of the call on the wire, or its number.
  var id: String
  var status: RPCStatus
  var detail: RPCValue?
}

extension CoAPResponse {
  static func methodNotAllowed(_ diagnostic: String) -> CoAPResponse { .error(.methodNotAllowed, diagnostic) }
}
