internal import DeviceRPC
internal import Logging

/// The devices as the management API shows them: those of the registry, and those that are connected without being in it.
struct GoliothRegistry: Sendable {
  /// Where a device is.
  enum Membership: Equatable {
    case one(String)
    /// Every project: nobody knows in which one it is, or it has no identity yet that would say it.
    case any

    func includes(_ project: String) -> Bool {
      switch self {
      case .one(let name): name == project
      case .any: true
      }
    }
  }

  struct Device {
    let name: String
    let membership: Membership
    /// Nil for a device that is not in the registry.
    let registered: RegisteredDevice?
    /// Nil for a device that has not connected.
    let info: DeviceInfo?
  }

  static let defaultProject = "default"

  let caller: any DeviceCaller
  /// Nil without a registry. The devices are then those that have connected, in whichever project one asks.
  let administration: (any DeviceAdministration)?
  let audit: AuditLog

  /// All devices, in the order of their names.
  func devices() async throws(Problem) -> [Device] {
    let connected = await caller.devices(DeviceQuery())
    guard let administration else { return connected.map { Self.device($0.name, nil, $0, hasRegistry: false) } }
    let registered = try await attempt { () throws(DeviceAdministrationError) in try await administration.registeredDevices() }
    var infos = Dictionary(connected.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    var all = registered.map { Self.device($0.name, $0, infos.removeValue(forKey: $0.name), hasRegistry: true) }
    all += infos.values.filter(\.isOnline).map { Self.device($0.name, nil, $0, hasRegistry: true) }
    return all.sorted { $0.name < $1.name }
  }

  /// The device of a name, if it is in the project.
  ///
  /// A device that is not in the registry is there while it is connected; otherwise one that was removed would remain.
  func device(_ name: String, in project: String) async throws(Problem) -> Device? {
    let info = await caller.info(of: name)
    let registered = try await registered(name)
    let hasRegistry = administration != nil
    guard registered != nil || (hasRegistry ? info?.isOnline == true : info != nil) else { return nil }
    let device = Self.device(name, registered, info, hasRegistry: hasRegistry)
    return device.membership.includes(project) ? device : nil
  }

  /// Throws unless the project has a device of that name, connected or not.
  func require(_ name: String, in project: String) async throws(Problem) {
    var membership: Membership?
    if let registered = try await registered(name) {
      membership = Self.membership(of: registered)
    } else if await caller.info(of: name) != nil {
      membership = administration == nil ? .any : .one(Self.defaultProject)
    }
    guard membership?.includes(project) == true else { throw Self.unknown(name, in: project) }
  }

  private func registered(_ name: String) async throws(Problem) -> RegisteredDevice? {
    guard let administration else { return nil }
    return try await attempt { () throws(DeviceAdministrationError) in try await administration.registeredDevice(name) }
  }

  static func unknown(_ name: String, in project: String) -> Problem {
    Problem(.unknownDevice, "The project \"\(project.prefix(128))\" has no device \"\(name.prefix(255))\".")
  }

  private static func device(
    _ name: String, _ registered: RegisteredDevice?, _ info: DeviceInfo?, hasRegistry: Bool
  ) -> Device {
    Device(
      name: name, membership: registered.map(membership) ?? (hasRegistry ? .one(defaultProject) : .any), registered: registered,
      info: info)
  }

  private static func membership(of device: RegisteredDevice) -> Membership {
    if device.credentials.isEmpty { return .any }
    return .one(project(of: device.credentials.first { $0.kind == .preSharedKey }?.identity ?? ""))
  }

  /// What stands behind the last `@` of an identity, or the default project.
  static func project(of identity: String) -> String {
    guard let sign = identity.lastIndex(of: "@") else { return defaultProject }
    let name = identity[identity.index(after: sign)...]
    return name.isEmpty ? defaultProject : String(name)
  }

  // MARK: Errors

  /// Turns what the registry says into a problem. What has failed inside of it is for the log.
  func attempt<Value: Sendable>(
    _ body: () async throws(DeviceAdministrationError) -> Value
  ) async throws(Problem) -> Value {
    do {
      return try await body()
    } catch {
      switch error {
      case .unknownDevice: throw Problem(.unknownDevice, "\(error).".capitalizedFirst)
      case .exists, .identityTaken: throw Problem(.alreadyExists, "\(error).".capitalizedFirst)
      case .invalid(let reason): throw Problem(.invalidRequest, "\(reason).".capitalizedFirst)
      case .failed(let reason):
        audit.log.error("the registry of devices has failed", metadata: ["error": "\(reason)"])
        throw Problem(.internalError, "The devices could not be read or changed.")
      }
    }
  }
}

extension String {
  fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
