// ThingsBoard: ThingsBoard's device API for RPC over CoAP: its paths, its codes, its observations.
// Called by the CoAP endpoint for each request, and by the loops for each call. The JSON is in the room ThingsBoard of DeviceRPC.

internal import CoAP
internal import DeviceRPC

/// ThingsBoard's device API for RPC: devices observe `api/v1/{token}/rpc`, POST results to `api/v1/{token}/rpc/{id}`, and POST calls
/// of their own to `api/v1/{token}/rpc`. With a key or certificate (DTLS, TLS) the token may be left out.
///
/// Better than the original where that breaks no firmware. Calls wait in a queue, while ThingsBoard holds one back and replaces it by
/// the next. Answers are piggybacked. An error says what is wrong, where ThingsBoard is silent or answers 5.00. A device that
/// registers again with the same token of CoAP has its Observe numbers continued, since it might take smaller ones for old (RFC
/// 7641 §3.4).
struct ThingsBoardDialect: Dialect {
  private let access: DeviceAccess
  private let settings: ThingsBoardSettings
  // Those of nearly all devices.
  private let confirmable: ThingsBoardForm
  private let nonConfirmable: ThingsBoardForm

  init(_ settings: ThingsBoardSettings, _ access: DeviceAccess) {
    self.access = access
    self.settings = settings
    confirmable = ThingsBoardForm(settings, .json, isConfirmable: true)
    nonConfirmable = ThingsBoardForm(settings, .json, isConfirmable: false)
  }

  // The others have a token in them.
  var paths: [String] { ["api/v1/rpc"] }
  var links: [String] { ["</api/v1/rpc>;ct=50;obs"] }
  var hint: String { "ThingsBoard's devices observe /api/v1/TOKEN/rpc" }

  func owns(_ path: String) -> Bool { ThingsBoardPath(path) != nil }

  func mayExceedRate(_ request: CoAPRequest) -> Bool {
    guard request.method == .post, case .result = ThingsBoardPath(request.path) else { return false }
    return true
  }

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    do throws(DeviceAccess.Refusal) {
      switch (ThingsBoardPath(request.path), request.method) {
      case (.rpc(let token), .get): return try subscription(token, request, on: session)
      case (.rpc(let token), .post): return try call(token, request, on: session)
      case (.rpc, _): return .methodNotAllowed("GET with Observe for calls, POST for a call to the server")
      case (.result(let token, let id), .post): return try result(token, id, request, on: session)
      case (.result, _): return .methodNotAllowed("POST the result of a call here")
      case (.other(let feature), _):
        return .error(.notFound, "this server has rpc only, not \(feature.prefix(64))")
      case (nil, _): return .error(.badRequest, "devices observe /api/v1/TOKEN/rpc")
      }
    } catch {
      return error.response
    }
  }

  private func subscription(_ token: String?, _ request: CoAPRequest, on session: CoAPSession) throws(DeviceAccess.Refusal) -> CoAPResponse? {
    guard let observe = request.observe, observe <= 1 else { return .error(.badRequest, "GET with Observe, 0 for calls, 1 for no more") }
    let sender = try access.sender(token: token, on: session)
    guard let name = sender.name else { return .error(.unauthorized, "it is not known which device this is") }
    if observe == 1 {
      access.endObservation(request, on: session)
      return CoAPResponse(.deleted)
    }
    return access.observe(
      request, as: name, by: sender.credential, form(of: request, on: session), established: CoAPResponse(.valid), on: session)
  }

  /// The pushes are of the type of the request, and have its Content-Format.
  private func form(of request: CoAPRequest, on session: CoAPSession) -> ThingsBoardForm {
    let isConfirmable = request.isConfirmable || session.scheme.isStream
    if let format = request.contentFormat, format != .json {
      return ThingsBoardForm(settings, format, isConfirmable: isConfirmable)
    }
    return isConfirmable ? confirmable : nonConfirmable
  }

  private func result(
    _ token: String?, _ id: String, _ request: CoAPRequest, on session: CoAPSession
  ) throws(DeviceAccess.Refusal) -> CoAPResponse? {
    let sender = try access.sender(token: token, on: session)
    guard ThingsBoardMessage.isID(id) else {
      return access.unreadable(nil, "the id of a call is a whole number", .badRequest, request, from: sender, on: session)
    }
    do throws(JSONError) {
      // Any answer is a success: there is no convention for errors.
      let result = DeviceAnswer(id: id, status: .ok, detail: try ThingsBoardMessage.result(request.payload))
      return access.take(result, taken: .created, request, from: sender, on: session)
    } catch {
      return access.unreadable(id, error.description, .badRequest, request, from: sender, on: session)
    }
  }

  private func call(_ token: String?, _ request: CoAPRequest, on session: CoAPSession) throws(DeviceAccess.Refusal) -> CoAPResponse? {
    let sender = try access.sender(token: token, on: session)
    guard let name = sender.name else { return .error(.unauthorized, "it is not known which device this is") }
    do throws(DeviceRequestError) {
      let format = request.contentFormat ?? .json
      access.perform(try ThingsBoardMessage.request(request.payload, from: name), request, on: session) { value in
        var bytes: [UInt8] = []
        do throws(JSONWriteError) {
          try JSONWriter.write(value, to: &bytes)
        } catch {
          return .error(.internalServerError, "the result cannot be written as JSON: \(error)")
        }
        return CoAPResponse(.content, contentFormat: format, payload: bytes)
      }
      return nil
    } catch {
      return .error(.badRequest, error.description)
    }
  }
}

/// Calls as firmware for ThingsBoard reads them.
final class ThingsBoardForm: CallForm {
  private let settings: ThingsBoardSettings
  let contentFormat: ContentFormat
  let isConfirmable: Bool

  init(_ settings: ThingsBoardSettings, _ contentFormat: ContentFormat, isConfirmable: Bool) {
    self.settings = settings
    self.contentFormat = contentFormat
    self.isConfirmable = isConfirmable
  }

  var dialect: String { "ThingsBoard, JSON" }
  var unansweredCalls: Int { settings.unansweredCalls }
  var firstNumber: UInt32? { 0 }
  var replaced: CoAPResponse? { CoAPResponse(.deleted) }

  // What needs several messages needs to know that they arrive.
  private static let longestNonConfirmable = 1_024

  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] {
    let limit = isConfirmable ? settings.maximumPayload : min(settings.maximumPayload, Self.longestNonConfirmable)
    return try ThingsBoardMessage.encode(call, id: id, limit: limit)
  }
}
