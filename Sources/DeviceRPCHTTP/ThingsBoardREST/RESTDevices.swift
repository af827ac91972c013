internal import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import Synchronization

/// Devices and their credentials, as far as ThingsBoard's clients need them before they can call.
struct RESTDevices: Sendable {
  /// Devices of a list.
  private static let most = 100_000

  let known: KnownDevices
  let ids: RESTIDs
  let fresh = FreshTokens()

  /// `POST /api/device`: adds a device with an access token, or shows one that is there if the body has its id.
  func save(_ body: RPCValue?, accessToken: String?, by sender: RESTSender) async throws(RESTError) -> Response {
    guard let name = body?["name"]?.stringValue else { throw .badRequest("Device name should be specified!") }
    try requireAdminister(name, sender)
    if let id = body?["id"]?["id"]?.stringValue {
      let current = try await device(of: id)
      guard current == name else { throw .badRequest("The name of a device cannot be changed") }
      return try await shown(name)
    }
    let token: AccessToken
    if let accessToken {
      guard let given = AccessToken(accessToken) else { throw .badRequest("accessToken has other characters than visible ones of ASCII") }
      token = given
    } else {
      token = .generated()
    }
    let added = try await attempt { (registry) throws(DeviceAdministrationError) in
      if try await registry.registeredDevice(name) != nil { return false }
      _ = try await registry.register(name, .accessToken, identity: token.digest)
      return true
    }
    guard added else { throw .badRequest("Device with such name already exists!") }
    fresh.set(token, of: name)
    known.audit.log.notice("device added", metadata: ["by": "\(sender.name)", "device": "\(name)"])
    return try await shown(name)
  }

  /// `GET /api/device/{id}`, `GET /api/tenant/device?deviceName=`.
  func get(_ name: String, by sender: RESTSender) async throws(RESTError) -> Response {
    guard sender.permissions.mayRead(name) || sender.permissions.mayAdminister(name) else { throw .noPermission }
    return try await shown(name)
  }

  /// `DELETE /api/device/{id}`.
  func delete(_ name: String, by sender: RESTSender) async throws(RESTError) -> Response {
    try requireAdminister(name, sender)
    try await attempt { (registry) throws(DeviceAdministrationError) in try await registry.unregister(name) }
    known.audit.log.notice("device removed", metadata: ["by": "\(sender.name)", "device": "\(name)"])
    return Response(status: .ok)
  }

  /// `GET /api/tenant/devices`, in the order of their names.
  func list(_ query: [String: String], by sender: RESTSender) async throws(RESTError) -> Response {
    let (page, size) = try RESTQuery.page(query)
    let text = query["textSearch"]?.lowercased() ?? ""
    var all: [KnownDevices.Device] = []
    var next = DeviceQuery(limit: 1_000)
    do throws(Problem) {
      while all.count < Self.most {
        let (devices, after) = try await known.devices(next)
        all += devices.filter { device in
          (sender.permissions.mayRead(device.name) || sender.permissions.mayAdminister(device.name))
            && (text.isEmpty || device.name.lowercased().contains(text))
        }
        guard let after else { break }
        next.after = after
      }
    } catch {
      throw RESTError(error)
    }
    if query["sortOrder"]?.uppercased() == "DESC" { all.reverse() }
    return .json(RESTEntity.page(all.map { RESTEntity.device($0, ids.id(of: $0.name)) }, page, size))
  }

  /// `GET /api/device/{id}/credentials`. A token can be had for an hour after it was made here; what is stored is its digest.
  func credentials(_ name: String, by sender: RESTSender) async throws(RESTError) -> Response {
    try requireAdminister(name, sender)
    let credentials = try await attempt { (registry) throws(DeviceAdministrationError) in try await registry.credentials(of: name) }
    if let token = credentials.first(where: { $0.kind == .accessToken }) {
      guard let text = fresh.token(of: name), text.digest == token.identity else {
        throw RESTError(
          .notFound, .notFound,
          "The access token of this device is stored as a digest, and was shown when it was made; POST /api/device/credentials sets a new one")
      }
      return .json(document(name, "ACCESS_TOKEN", text.text))
    }
    guard let certificate = credentials.first(where: { $0.kind == .certificate }), case .certificate(let fingerprint?) = certificate.proof else {
      throw RESTError(.notFound, .notFound, "This device has no access token; POST /api/device/credentials sets one")
    }
    return .json(document(name, "X509_CERTIFICATE", fingerprint.hexadecimal))
  }

  /// `POST /api/device/credentials`: sets the access token.
  func setCredentials(_ body: RPCValue?, by sender: RESTSender) async throws(RESTError) -> Response {
    guard let id = body?["deviceId"]?["id"]?.stringValue else { throw .badRequest("deviceId is missing") }
    let name = try await device(of: id)
    try requireAdminister(name, sender)
    guard body?["credentialsType"]?.stringValue ?? "ACCESS_TOKEN" == "ACCESS_TOKEN" else {
      throw .badRequest("credentialsType is ACCESS_TOKEN; others are given with device-rpc devices add")
    }
    guard let token = body?["credentialsId"]?.stringValue.flatMap(AccessToken.init) else {
      throw .badRequest("credentialsId is the access token, 1 to \(AccessToken.longest) visible characters of ASCII without a slash")
    }
    try await attempt { (registry) throws(DeviceAdministrationError) in
      _ = try await registry.setCredential(.accessToken, identity: token.digest, of: name, .set)
    }
    fresh.set(token, of: name)
    known.audit.log.notice("access token set", metadata: ["by": "\(sender.name)", "device": "\(name)"])
    return .json(document(name, "ACCESS_TOKEN", token.text))
  }

  private func document(_ name: String, _ type: String, _ id: String) -> RPCValue {
    [
      "id": ["id": .string(RESTIDs.id(of: name, "credentials"))], "createdTime": 0, "deviceId": RESTEntity.id("DEVICE", ids.id(of: name)),
      "credentialsType": .string(type), "credentialsId": .string(id), "credentialsValue": .null, "version": 1,
    ]
  }

  // MARK: Finding

  /// The name of the device of an id.
  func device(of id: String) async throws(RESTError) -> String {
    if let name = try await ids.device(of: id) { return name }
    throw RESTError(.notFound, .notFound, "Device with id [\(id.lowercased())] is not found")
  }

  private func shown(_ name: String) async throws(RESTError) -> Response {
    do throws(Problem) {
      guard let device = try await known.device(name) else { throw Problem(.unknownDevice, "Requested item wasn't found!") }
      return .json(RESTEntity.device(device, ids.id(of: name)))
    } catch {
      throw RESTError(error)
    }
  }

  private func requireAdminister(_ name: String, _ sender: RESTSender) throws(RESTError) {
    guard sender.authority == .tenantAdmin, sender.permissions.mayAdminister(name) else { throw .noPermission }
  }

  @discardableResult
  private func attempt<Value: Sendable>(
    _ body: (any DeviceAdministration) async throws(DeviceAdministrationError) -> Value
  ) async throws(RESTError) -> Value {
    do throws(Problem) {
      let registry = try known.administration()
      return try await known.attempt { () throws(DeviceAdministrationError) in try await body(registry) }
    } catch {
      throw RESTError(error)
    }
  }
}

/// Access tokens that were made here, for as long as clients may read them: an hour, 10,000 at most.
final class FreshTokens: Sendable {
  private static let most = 10_000
  private static let time = Duration.seconds(3_600)

  private let tokens = Mutex<[String: (token: AccessToken, until: ContinuousClock.Instant)]>([:])

  func set(_ token: AccessToken, of device: String) {
    tokens.withLock { tokens in
      if tokens.count >= Self.most { tokens = tokens.filter { $0.value.until > .now } }
      if tokens.count >= Self.most { tokens = [:] }
      tokens[device] = (token, .now + Self.time)
    }
  }

  func token(of device: String) -> AccessToken? {
    tokens.withLock { $0[device] }.flatMap { $0.until > .now ? $0.token : nil }
  }
}
