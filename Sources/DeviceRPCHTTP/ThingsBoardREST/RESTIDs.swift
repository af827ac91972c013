internal import Crypto
internal import DeviceRPC
internal import Synchronization

/// The UUIDs by which ThingsBoard's clients name devices: made from their names, for ever the same (RFC 9562 §5.5).
final class RESTIDs: Sendable {
  private struct State {
    var names: [String: String] = [:]
    var scan: Task<Result<Void, Problem>, Never>?
    // When the last look at all devices was over; nil while one is under way.
    var scanEnded: Duration?
  }

  /// Devices that are remembered. With more, those that are asked for are looked for again.
  private static let remembered = 400_000
  private static let page = 1_000
  // Of this package, random: the names are in no other namespace.
  private static let namespace: [UInt8] = [
    0x1d, 0x0f, 0x6c, 0x7e, 0x5b, 0x52, 0x4f, 0x0a, 0x9a, 0x3c, 0x52, 0xb1, 0x64, 0x8e, 0x27, 0xd3,
  ]

  private let known: KnownDevices
  private let now: @Sendable () -> Duration
  private let state = Mutex(State())

  init(known: KnownDevices, now: @escaping @Sendable () -> Duration) {
    self.known = known
    self.now = now
  }

  /// The id of a device.
  func id(of name: String) -> String {
    let id = Self.id(of: name)
    state.withLock { state in
      if state.names.count >= Self.remembered { state.names = [:] }
      state.names[id] = name
    }
    return id
  }

  /// A UUID of version 5.
  static func id(of name: String, _ kind: String = "device") -> String {
    var hash = Insecure.SHA1()
    hash.update(data: namespace)
    hash.update(data: Array("\(kind)/\(name)".utf8))
    var bytes = Array(hash.finalize().prefix(16))
    bytes[6] = bytes[6] & 0x0f | 0x50
    bytes[8] = bytes[8] & 0x3f | 0x80
    let digits = Array("0123456789abcdef")
    return bytes.enumerated().map { index, byte in
      ([4, 6, 8, 10].contains(index) ? "-" : "") + String([digits[Int(byte >> 4)], digits[Int(byte & 15)]])
    }.joined()
  }

  /// A UUID in its canonical form; nil for what is none.
  static func canonical(_ text: String) -> String? {
    let parts = text.lowercased().split(separator: "-", omittingEmptySubsequences: false)
    guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12], parts.allSatisfy({ $0.allSatisfy(\.isHexDigit) && $0.utf8.count == $0.count })
    else { return nil }
    return text.lowercased()
  }

  /// The device of an id as a client gives it; nil when there is none.
  func device(of text: String) async throws(RESTError) -> String? {
    guard let id = Self.canonical(text) else { throw .badRequest("Invalid UUID string: \(text.prefix(64))") }
    do throws(Problem) {
      return try await name(of: id)
    } catch {
      throw RESTError(error)
    }
  }

  private func name(of id: String) async throws(Problem) -> String? {
    if let name = state.withLock({ $0.names[id] }) {
      if try await known.device(name) != nil { return name }
      state.withLock { $0.names[id] = nil }
      return nil
    }
    try await scan().value.get()
    return state.withLock { $0.names[id] }
  }

  /// Looks at all devices, which takes a while: together with whoever does so at the moment, and not again within a second.
  private func scan() -> Task<Result<Void, Problem>, Never> {
    state.withLock { state in
      if let scan = state.scan, state.scanEnded.map({ now() - $0 < .seconds(1) }) ?? true { return scan }
      let scan = Task { () -> Result<Void, Problem> in
        let result = await self.lookAtAll()
        self.state.withLock { state in
          state.scanEnded = self.now()
          // What has failed is tried again at once.
          if case .failure = result { state.scan = nil }
        }
        return result
      }
      state.scan = scan
      state.scanEnded = nil
      return scan
    }
  }

  private func lookAtAll() async -> Result<Void, Problem> {
    var query = DeviceQuery(limit: Self.page)
    do throws(Problem) {
      while true {
        let (devices, next) = try await known.devices(query)
        for device in devices { _ = id(of: device.name) }
        guard let next else { return .success(()) }
        query.after = next
      }
    } catch {
      return .failure(error)
    }
  }
}
