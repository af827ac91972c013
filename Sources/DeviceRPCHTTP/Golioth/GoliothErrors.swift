internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

extension ProblemForm {
  /// `{"code": 5, "message": "…", "details": []}`, with gRPC's number and the HTTP status that belongs to it.
  static let golioth = ProblemForm(
    contentType: "application/json", schema: "GoliothError", status: { $0.goliothStatus.httpStatus },
    document: { ["code": RPCValue($0.kind.goliothStatus.rawValue), "message": .string($0.detail), "details": []] })
}

extension ProblemKind {
  var goliothStatus: RPCStatus {
    switch self {
    case .malformedJSON, .invalidRequest, .unsupportedMediaType, .bodyTooLarge, .idempotencyKeyReused, .invalidCall:
      .invalidArgument
    case .notFound, .unknownDevice, .unknownCredential, .unknownCall: .notFound
    case .alreadyExists: .alreadyExists
    case .forbidden, .wrongHost: .permissionDenied
    case .unauthorized: .unauthenticated
    case .tooManyRequests, .limitExceeded: .resourceExhausted
    case .methodNotAllowed, .notImplemented: .unimplemented
    // No readable answer has come in time, as Golioth's service would say of it.
    case .requestTimeout, .notSent, .undelivered, .unconfirmed, .unanswered, .unreadable, .expired: .deadlineExceeded
    case .offline, .rejected, .shuttingDown, .notKept: .unavailable
    case .revoked, .preconditionFailed: .aborted
    case .cancelled: .cancelled
    case .internalError: .internalError
    }
  }
}

extension RPCStatus {
  /// The HTTP status of an error, by the table in google/rpc/code.proto.
  fileprivate var httpStatus: HTTPResponse.Status {
    switch self {
    case .ok: .ok
    case .cancelled: HTTPResponse.Status(code: 499, reasonPhrase: "Client Closed Request")
    case .invalidArgument, .failedPrecondition, .outOfRange: .badRequest
    case .deadlineExceeded: .gatewayTimeout
    case .notFound: .notFound
    case .alreadyExists, .aborted: .conflict
    case .permissionDenied: .forbidden
    case .unauthenticated: .unauthorized
    case .resourceExhausted: .tooManyRequests
    case .unimplemented: .notImplemented
    case .unavailable: .serviceUnavailable
    // UNKNOWN, INTERNAL and DATA_LOSS.
    default: .internalServerError
    }
  }
}
