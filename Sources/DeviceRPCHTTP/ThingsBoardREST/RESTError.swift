internal import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// An error as ThingsBoard's REST API has it.
struct RESTError: Error {
  /// `ThingsboardErrorCode`.
  enum Code: Int {
    case general = 2
    case authentication = 10
    case tokenExpired = 11
    case permissionDenied = 20
    case badRequest = 31
    case notFound = 32
    case tooManyRequests = 33
  }

  let status: HTTPResponse.Status
  let code: Code
  let message: String
  /// Nil for the usual JSON; some errors are a line of text.
  var isText = false
  var headers: HTTPFields = [:]

  init(_ status: HTTPResponse.Status, _ code: Code, _ message: String) {
    self.status = status
    self.code = code
    self.message = message
  }

  static func text(_ status: HTTPResponse.Status, _ message: String) -> RESTError {
    var error = RESTError(status, .general, message)
    error.isText = true
    return error
  }

  static func badRequest(_ message: String) -> RESTError { RESTError(.badRequest, .badRequest, message) }

  static let authentication = RESTError(.unauthorized, .authentication, "Authentication failed")
  static let noPermission = text(.forbidden, "You don't have permission to perform this operation!")

  static func tooMany(_ message: String, retryAfter seconds: Int) -> RESTError {
    var error = RESTError(.tooManyRequests, .tooManyRequests, message)
    error.headers[.retryAfter] = "\(seconds)"
    return error
  }

  /// A problem of the rooms that ours and ThingsBoard's API share.
  init(_ problem: Problem) {
    switch problem.kind {
    case .forbidden: self = .noPermission
    case .unauthorized: self = .authentication
    case .notFound, .unknownDevice, .unknownCredential, .unknownCall: self.init(.notFound, .notFound, problem.detail)
    case .tooManyRequests, .limitExceeded: self = .tooMany(problem.detail, retryAfter: 1)
    case .alreadyExists, .malformedJSON, .invalidRequest, .invalidCall, .idempotencyKeyReused: self = .badRequest(problem.detail)
    default: self.init(problem.kind.status, .general, problem.detail)
    }
  }

  func response(at now: Date) -> Response {
    var response: Response
    if isText {
      response = Response(
        status: status, headers: [.contentType: "text/plain; charset=utf-8"],
        body: ResponseBody(byteBuffer: ByteBuffer(string: message)))
    } else {
      response = .json(
        [
          "status": RPCValue(self.status.code), "message": .string(message), "errorCode": RPCValue(code.rawValue),
          "timestamp": .integer(now.milliseconds),
        ], status: status)
    }
    for field in headers { response.headers[field.name] = field.value }
    return response
  }
}

extension Date {
  /// Milliseconds since 1970, as all times of ThingsBoard.
  var milliseconds: Int64 { Int64((timeIntervalSince1970 * 1_000).rounded()) }
}
