internal import DeviceRPC
internal import Hummingbird

/// A kind of problem, which is the `type` of a problem document (RFC 9457): `/v1/problems/offline`. Kinds are never renamed.
enum ProblemKind: String, CaseIterable, Sendable {
  // The request.
  case malformedJSON = "malformed-json"
  case invalidRequest = "invalid-request"
  case unsupportedMediaType = "unsupported-media-type"
  case bodyTooLarge = "body-too-large"
  case requestTimeout = "request-timeout"
  case notFound = "not-found"
  case alreadyExists = "already-exists"
  case methodNotAllowed = "method-not-allowed"
  case wrongHost = "wrong-host"
  case unauthorized
  case forbidden
  case tooManyRequests = "too-many-requests"
  case idempotencyKeyReused = "idempotency-key-reused"
  case preconditionFailed = "precondition-failed"
  case notImplemented = "not-implemented"
  case unknownCredential = "unknown-credential"
  // The call.
  case unknownDevice = "unknown-device"
  case unknownCall = "unknown-call"
  case offline
  case invalidCall = "invalid-call"
  case limitExceeded = "limit-exceeded"
  case notSent = "not-sent"
  case undelivered
  case unconfirmed
  case unanswered
  case rejected
  case unreadable
  case revoked
  case cancelled
  case shuttingDown = "shutting-down"
  case notKept = "not-kept"
  case expired
  case internalError = "internal-error"

  var path: String { "/v1/problems/\(rawValue)" }

  /// The HTTP status: for calls by gRPC's table of status codes for HTTP, since the statuses of devices are gRPC's.
  var status: HTTPResponse.Status {
    switch self {
    case .malformedJSON, .invalidRequest, .invalidCall: .badRequest
    case .unauthorized: .unauthorized
    case .forbidden: .forbidden
    case .notFound, .unknownDevice, .unknownCredential, .unknownCall: .notFound
    case .methodNotAllowed: .methodNotAllowed
    case .requestTimeout: .requestTimeout
    case .alreadyExists, .revoked, .cancelled: .conflict
    case .bodyTooLarge: .contentTooLarge
    case .unsupportedMediaType: .unsupportedMediaType
    case .wrongHost: .misdirectedRequest
    case .idempotencyKeyReused: .unprocessableContent
    case .preconditionFailed: .preconditionFailed
    case .tooManyRequests, .limitExceeded: .tooManyRequests
    case .internalError: .internalServerError
    case .notImplemented: .notImplemented
    case .rejected, .unreadable: .badGateway
    case .offline, .shuttingDown, .notKept: .serviceUnavailable
    case .notSent, .undelivered, .unconfirmed, .unanswered, .expired: .gatewayTimeout
    }
  }

  /// A few words that are the same for each problem of the kind.
  var title: String {
    switch self {
    case .malformedJSON: "The body is not JSON"
    case .invalidRequest: "The request has a wrong value"
    case .unsupportedMediaType: "The body is not application/json"
    case .bodyTooLarge: "The body is too large"
    case .requestTimeout: "The request took too long to arrive"
    case .notFound: "There is nothing at this path"
    case .alreadyExists: "There is one already"
    case .methodNotAllowed: "The path does not have this method"
    case .wrongHost: "The request is for another host"
    case .unauthorized: "An API key is needed"
    case .forbidden: "The API key may not do this"
    case .tooManyRequests: "Too many requests"
    case .idempotencyKeyReused: "The idempotency key was used for another request"
    case .preconditionFailed: "It has changed meanwhile"
    case .notImplemented: "The server cannot do this"
    case .unknownCredential: "The device has no such credential"
    case .unknownDevice: "The device is unknown"
    case .unknownCall: "The call is unknown"
    case .offline: "The device is offline"
    case .invalidCall: "The device cannot be called like this"
    case .limitExceeded: "A limit of the server is reached"
    case .notSent: "The call was not sent in time"
    case .undelivered: "The device has not acknowledged the call"
    case .unconfirmed: "The device has not answered, and its connection has no acknowledgements"
    case .unanswered: "The device has not answered in time"
    case .rejected: "The device has rejected the message"
    case .unreadable: "The answer of the device cannot be read"
    case .revoked: "The device is no longer trusted"
    case .cancelled: "The call was cancelled"
    case .shuttingDown: "The server is shutting down"
    case .notKept: "The call cannot be kept"
    case .expired: "The time of the call is over"
    case .internalError: "The server has failed"
    }
  }

  /// What it means and what to do.
  var explanation: String {
    switch self {
    case .malformedJSON: "The detail says at which byte."
    case .invalidRequest: "The detail names the member, parameter or header, and what is allowed. Unknown members are refused."
    case .unsupportedMediaType: "Send Content-Type: application/json. With curl, use --json."
    case .bodyTooLarge: "The detail says how large a body may be."
    case .requestTimeout: "The whole request must arrive within the time that the detail says."
    case .notFound: "The paths are in /v1/openapi.json."
    case .alreadyExists: "Another device has this name or identity, or the device has a credential of this kind, which …/rotate replaces."
    case .methodNotAllowed: "The Allow header lists the methods of the path."
    case .wrongHost: "A server on loopback answers only requests whose Host is localhost or a loopback address."
    case .unauthorized: "Send Authorization: Bearer KEY with a key of \"device-rpc keys add\" that is neither expired nor revoked."
    case .forbidden: "The key is valid, and its permissions do not include this device, method or operation."
    case .tooManyRequests: "The key has sent more requests than it may. Retry-After says when to try again."
    case .idempotencyKeyReused: "Use a new Idempotency-Key for another request."
    case .preconditionFailed: "If-Match has the ETag of an earlier state. Read the current one, and change that."
    case .notImplemented: "The server runs without a store of devices, in which they could be changed."
    case .unknownCredential: "The device has no credential of this kind that could be replaced; POST …/credentials adds one."
    case .unknownDevice: "No device of this name is registered, or has connected since the server was started. Nothing was sent."
    case .unknownCall: "No call has this id, or it ended so long ago that it is no longer remembered."
    case .offline: "The device is not connected, and the time to wait for it is over. Nothing was sent."
    case .invalidCall: "What the call contains cannot be sent to this device. Nothing was sent."
    case .limitExceeded:
      "Too many calls are open, or too many clients read events. Nothing was sent. Retry-After says when to try again."
    case .notSent: "Its turn behind other calls did not come before its deadline. Nothing was sent."
    case .undelivered: "The call was sent, and no acknowledgement was seen. The device may have run it."
    case .unconfirmed: "The call was sent over a connection without acknowledgements, such as TCP. The device may have run it."
    case .unanswered: "The device has acknowledged the call, and its result did not come in time. The device may have run it."
    case .rejected: "The device has answered the message with a CoAP Reset: it has not taken the call."
    case .unreadable: "The device has answered with something that is no result. It has run the call."
    case .revoked: "The device was disabled, removed or given another key while the call was open."
    case .cancelled: "The member delivery says how far the call had come."
    case .shuttingDown: "The member delivery says how far the call had come."
    case .notKept: "The server has no journal of persistent calls, or it cannot be written to; /readyz says why. Nothing was sent."
    case .expired: "The device had not answered the persistent call by then. The member delivery says how far the call had come."
    case .internalError: "The log of the server says more."
    }
  }
}

/// What a request is answered with when it cannot be done.
struct Problem: Error {
  var kind: ProblemKind
  /// One sentence about this occurrence.
  var detail: String
  /// More members of the document.
  var members: [(String, RPCValue)] = []
  var headers: HTTPFields = [:]

  init(_ kind: ProblemKind, _ detail: String, members: [(String, RPCValue)] = []) {
    self.kind = kind
    self.detail = detail
    self.members = members
  }

  var document: RPCValue {
    .object(
      RPCObject(
        [
          ("type", .string(kind.path)), ("title", .string(kind.title)), ("status", .integer(Int64(kind.status.code))),
          ("detail", .string(detail)),
        ] + members))
  }

  var response: Response { ProblemForm.problemDocument.response(to: self) }

  /// With the time after which to try again, in whole seconds.
  func retrying(after seconds: Int) -> Problem {
    var problem = self
    problem.headers[.retryAfter] = "\(max(1, seconds))"
    return problem
  }
}

/// How a route says what has gone wrong: in our own API as a problem document, in that of a vendor as the vendor does.
struct ProblemForm: Sendable {
  let contentType: String
  /// The name of the schema of the document.
  let schema: String
  let status: @Sendable (ProblemKind) -> HTTPResponse.Status
  let document: @Sendable (Problem) -> RPCValue

  /// RFC 9457.
  static let problemDocument = ProblemForm(
    contentType: "application/problem+json", schema: "Problem", status: \.status, document: \.document)

  func response(to problem: Problem) -> Response {
    var response = Response.json(document(problem), status: status(problem.kind))
    response.headers[.contentType] = contentType
    for field in problem.headers { response.headers.append(field) }
    return response
  }
}

extension Problem {
  /// The problem that a call has ended with.
  init(_ error: CallError, call: CallInfo? = nil) {
    let kind: ProblemKind =
      switch error {
      case .unknownDevice: .unknownDevice
      case .offline: .offline
      case .invalidCall: .invalidCall
      case .limitExceeded: .limitExceeded
      case .notSent: .notSent
      case .undelivered: .undelivered
      case .unconfirmed: .unconfirmed
      case .unanswered: .unanswered
      case .rejected: .rejected
      case .refused, .unreadableResult, .garbled: .unreadable
      case .revoked: .revoked
      case .cancelled: .cancelled
      case .shuttingDown: .shuttingDown
      case .notKept: .notKept
      case .expired: .expired
      }
    self.init(
      kind, "\(error)",
      members: [
        ("delivery", .string(error.delivery.rawValue)), ("safeToRepeat", .bool(error.delivery.isSafeToRepeat)),
      ])
    if let call { members.append(("call", CallDocument.value(of: call))) }
    if case .limitExceeded = error { headers[.retryAfter] = "1" }
  }
}
