internal import DeviceRPC
internal import Logging

/// The devices that the server knows: those of the registry, and those that are connected without being in it.
///
/// Without a registry they are those that have connected.
struct KnownDevices: Sendable {
  struct Device: Sendable {
    let name: String
    /// Nil for a device that is not in the registry.
    let registered: RegisteredDevice?
    /// Nil for a device that has not connected.
    let info: DeviceInfo?

    var state: DeviceInfo.State { info?.state ?? .offline }
  }

  let caller: any DeviceCaller
  /// Nil for a server that cannot administer devices.
  let registry: (any DeviceAdministration)?
  let audit: AuditLog

  // MARK: Reading

  /// The first devices that a query asks for, in the order of their names, and the name after which the next ones are found; nil
  /// when there are none.
  func devices(_ query: DeviceQuery) async throws(Problem) -> (devices: [Device], next: String?) {
    guard let registry else {
      let infos = await caller.devices(query)
      return (infos.map { Device(name: $0.name, registered: nil, info: $0) }, infos.count == query.limit ? infos.last?.name : nil)
    }
    guard query.states.contains(.offline) else {
      // These have connected, and are few beside all that are registered.
      let infos = await caller.devices(query)
      var devices: [Device] = []
      for info in infos { devices.append(Device(name: info.name, registered: try await registered(info.name), info: info)) }
      return (devices, infos.count == query.limit ? infos.last?.name : nil)
    }
    var all = query
    all.states = Set(DeviceInfo.State.allCases)
    let connected = await caller.devices(all)
    let registered = try await attempt { () throws(DeviceAdministrationError) in
      try await registry.registeredDevices(prefix: query.prefix, after: query.after, limit: query.limit)
    }
    // Behind the end of a list that was cut off, nothing is known of the names of the other one.
    let end = [
      connected.count == query.limit ? connected.last?.name : nil, registered.count == query.limit ? registered.last?.name : nil,
    ].compactMap { $0 }.min()
    var infos = Dictionary(connected.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    var devices = registered.map { Device(name: $0.name, registered: $0, info: infos.removeValue(forKey: $0.name)) }
    devices += infos.values.map { Device(name: $0.name, registered: nil, info: $0) }
    let shown = devices.filter { device in
      (end.map { device.name <= $0 } ?? true) && query.states.contains(device.state) && isShown(device)
    }
    // A name that was written into the registry by other means may sort differently there.
    return (shown.sorted { $0.name < $1.name }, end.flatMap { end in query.after.map { $0 < end } ?? true ? end : nil })
  }

  /// The device of a name; nil when there is none.
  func device(_ name: String) async throws(Problem) -> Device? {
    let device = Device(name: name, registered: try await registered(name), info: await caller.info(of: name))
    return isShown(device) ? device : nil
  }

  /// The same, or the problem that there is none.
  func require(_ name: String) async throws(Problem) -> Device {
    if let device = try await device(name) { return device }
    throw Problem(
      .unknownDevice,
      "No device named \"\(name.prefix(255))\" " + (registry == nil ? "has connected yet." : "is registered or connected."))
  }

  /// A device that is not in the registry is there while it is connected; otherwise one that was removed would remain.
  private func isShown(_ device: Device) -> Bool {
    device.registered != nil || (registry == nil ? device.info != nil : device.info?.isOnline == true)
  }

  /// The problem of a call: a device that is in the registry, and that the server has not seen since it was started, is not unknown.
  func explained(_ problem: Problem, of name: String) async -> Problem {
    guard problem.kind == .unknownDevice, let device = try? await registered(name), device.name == name else { return problem }
    var offline = Problem(CallError.offline(name))
    offline.members += problem.members.filter { $0.0 == "call" }
    return offline
  }

  /// The device of a name in the registry; nil when there is none, or no registry.
  func registered(_ name: String) async throws(Problem) -> RegisteredDevice? {
    guard let registry else { return nil }
    return try await attempt { () throws(DeviceAdministrationError) in try await registry.registeredDevice(name) }
  }

  // MARK: Changing

  /// Does what `body` does to a device, if the sender may, with a line in the log.
  @discardableResult
  func administer<Value: Sendable>(
    _ action: String, _ name: String, by sender: Sender,
    if condition: () async throws(Problem) -> Void = { () throws(Problem) in },
    _ body: (any DeviceAdministration) async throws(DeviceAdministrationError) -> Value
  ) async throws(Problem) -> Value {
    let registry = try administration()
    do {
      try sender.requireAdminister(name)
      try await condition()
      let value = try await attempt { () throws(DeviceAdministrationError) in try await body(registry) }
      audit.note(action, of: name, by: sender)
      return value
    } catch {
      audit.note(action, of: name, by: sender, error)
      throw error
    }
  }

  func administration() throws(Problem) -> any DeviceAdministration {
    guard let registry else {
      throw Problem(.notImplemented, "This server has no store of devices, so they cannot be managed.")
    }
    return registry
  }

  /// Turns what the registry says into a problem. What has failed inside of it is for the log.
  func attempt<Value: Sendable>(
    _ body: () async throws(DeviceAdministrationError) -> Value
  ) async throws(Problem) -> Value {
    do {
      return try await body()
    } catch {
      if case .failed(let reason) = error {
        audit.log.error("the registry of devices has failed", metadata: ["error": "\(reason)"])
      }
      throw Problem(error)
    }
  }
}

extension Problem {
  init(_ error: DeviceAdministrationError) {
    // Names may be as long as a path.
    let text = String("\(error)".prefix(600))
    let detail = text.prefix(1).uppercased() + text.dropFirst() + "."
    switch error {
    case .unknownDevice: self.init(.unknownDevice, detail)
    case .hasCredential(_, let kind): self.init(.alreadyExists, detail, members: [("credential", .string(kind.rawValue))])
    case .noCredential(_, let kind): self.init(.unknownCredential, detail, members: [("credential", .string(kind.rawValue))])
    case .exists, .identityTaken: self.init(.alreadyExists, detail)
    case .invalid: self.init(.invalidRequest, detail)
    // It may name files.
    case .failed: self.init(.internalError, "The devices could not be read or changed.")
    }
  }
}
