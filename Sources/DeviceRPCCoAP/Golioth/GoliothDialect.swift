internal import CoAP
internal import DeviceRPC
internal import Logging

/// Golioth's device API: `.rpc` to observe, `.rpc/status` for results, and what else stock firmware sends.
struct GoliothDialect: Dialect {
  private let configuration: CoAPConfiguration
  private let access: DeviceAccess
  private let log: Logger
  // Those of devices without settings of their own.
  private let json: GoliothForm
  private let cbor: GoliothForm

  init(configuration: CoAPConfiguration, access: DeviceAccess, log: Logger) {
    self.configuration = configuration
    self.access = access
    self.log = log
    json = GoliothForm(.json, configuration.golioth)
    cbor = GoliothForm(.cbor, configuration.golioth)
  }

  private func form(_ format: GoliothCodec.Format, of name: String) -> GoliothForm {
    if let own = configuration.devices[name] { return GoliothForm(format, own) }
    return format == .json ? json : cbor
  }

  var paths: [String] { [".rpc", ".rpc/status", ".s/logs"] }
  var links: [String] { ["</.rpc>;ct=\"50 60\";obs", "</.rpc/status>;ct=\"50 60\""] }
  var hint: String { "devices observe /.rpc and POST to /.rpc/status" }

  func owns(_ path: String) -> Bool {
    switch path {
    case ".rpc/status", ".rpc", "", ".s/logs": true
    default: false
    }
  }

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    switch request.path {
    case ".rpc/status":
      guard request.method == .post else { return .methodNotAllowed("POST results here") }
      return result(request, on: session)
    case ".rpc":
      guard request.method == .get else {
        return .methodNotAllowed("GET with Observe here, POST results to /.rpc/status")
      }
      return listen(request, on: session)
    case ".s/logs":
      // Always a success response: firmware would log an error, and send that line here, too.
      return deviceLog(request, on: session)
    default: return keepAlive(request)
    }
  }

  func mayExceedRate(_ request: CoAPRequest) -> Bool {
    request.path == ".s/logs" || (request.path == ".rpc/status" && request.method == .post)
  }

  // MARK: Calls

  /// A GET without Observe returns the oldest waiting call, or else `OK`.
  private func listen(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    guard let format = GoliothCodec.Format(request.accept ?? .json) else {
      return .error(.notAcceptable, "calls are to be had as JSON (50) and CBOR (60)")
    }
    let name: String
    do throws(DeviceAccess.Refusal) {
      name = try access.name(of: request, on: session)
    } catch {
      return error.response
    }
    // Firmware requires this response, and would drop a call sent instead; calls follow as notifications.
    let established = CoAPResponse(
      .content, contentFormat: format.contentFormat, payload: GoliothCodec.established(format))
    let form = form(format, of: name)
    switch request.observe {
    case 0: return access.observe(request, as: name, form, established: established, on: session)
    case 1:
      access.endObservation(request, on: session)
      return established
    default: return access.poll(name, form, else: established, request, on: session)
    }
  }

  private func result(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    let format: GoliothCodec.Format
    if let contentFormat = request.contentFormat {
      guard let known = GoliothCodec.Format(contentFormat) else {
        let reason = "a result is JSON (50) or CBOR (60), not \(contentFormat)"
        return access.unreadable(nil, reason, .unsupportedContentFormat, request, on: session)
      }
      format = known
    } else {
      // Without the option the receiver may inspect the payload (RFC 7252 §5.5.1); no CBOR map begins like a JSON object.
      let first = request.payload.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
      format = first == UInt8(ascii: "{") ? .json : .cbor
    }
    do throws(GoliothCodec.Malformed) {
      let result = try GoliothCodec.decodeResult(request.payload, format: format)
      return access.take(result, taken: .changed, request, on: session)
    } catch {
      return access.unreadable(error.id, error.diagnostic, .badRequest, request, on: session)
    }
  }

  // MARK: Other requests

  /// Golioth's keep-alive is a DELETE without a path; any response will do.
  private func keepAlive(_ request: CoAPRequest) -> CoAPResponse {
    switch request.method {
    case .delete: CoAPResponse(.deleted)
    case .get, .fetch: CoAPResponse(.content)
    default: CoAPResponse(.changed)
    }
  }

  private func deviceLog(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse {
    if request.isOverRate {
      access.directory.countDroppedLog()
    } else if log.logLevel <= .debug, let format = GoliothCodec.Format(request.contentFormat ?? .cbor),
      let value = try? GoliothCodec.decode(request.payload, format: format)
    {
      let name = (try? access.identity.sender(of: request, on: session))?.name ?? session.address.description
      log.debug("device log", metadata: ["device": "\(name.onOneLine)", "line": "\("\(value)".cut())"])
    }
    return CoAPResponse(.changed)
  }
}

/// Calls as Golioth's firmware reads them.
final class GoliothForm: CallForm {
  private let format: GoliothCodec.Format
  private let settings: GoliothSettings

  init(_ format: GoliothCodec.Format, _ settings: GoliothSettings) {
    self.format = format
    self.settings = settings
  }

  var dialect: String { "Golioth, \(format.name)" }
  var contentFormat: ContentFormat { format.contentFormat }
  var unansweredCalls: Int { settings.unansweredCalls }

  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] {
    try GoliothCodec.encode(call, id: id, format: format, settings: settings)
  }
}
