internal import DeviceRPC

/// The devices as the management API shows them, each of which is in a project.
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

  static let defaultProject = "default"

  let known: KnownDevices

  /// The devices of a project, in the order of their names.
  func devices(in project: String) async throws(Problem) -> [KnownDevices.Device] {
    try await devices().filter { membership(of: $0.registered).includes(project) }
  }

  /// All devices, in the order of their names.
  func devices() async throws(Problem) -> [KnownDevices.Device] { try await known.devices(DeviceQuery()).devices }

  /// The device of a name, if it is in the project.
  func device(_ name: String, in project: String) async throws(Problem) -> KnownDevices.Device? {
    guard let device = try await known.device(name), membership(of: device.registered).includes(project) else { return nil }
    return device
  }

  /// Throws unless the project has a device of that name, connected or not.
  func require(_ name: String, in project: String) async throws(Problem) {
    let registered = try await known.registered(name)
    let isThere = if registered != nil { true } else { await known.caller.info(of: name) != nil }
    guard isThere, membership(of: registered).includes(project) else { throw Self.unknown(name, in: project) }
  }

  static func unknown(_ name: String, in project: String) -> Problem {
    Problem(.unknownDevice, "The project \"\(project.prefix(128))\" has no device \"\(name.prefix(255))\".")
  }

  /// Where a device is of which the registry, if there is one, says this.
  func membership(of device: RegisteredDevice?) -> Membership {
    guard let device else { return known.registry == nil ? .any : .one(Self.defaultProject) }
    if device.credentials.isEmpty { return .any }
    return .one(Self.project(of: device.credentials.first { $0.kind == .preSharedKey }?.identity ?? ""))
  }

  /// What stands behind the last `@` of an identity, or the default project.
  static func project(of identity: String) -> String {
    guard let sign = identity.lastIndex(of: "@") else { return defaultProject }
    let name = identity[identity.index(after: sign)...]
    return name.isEmpty ? defaultProject : String(name)
  }
}
