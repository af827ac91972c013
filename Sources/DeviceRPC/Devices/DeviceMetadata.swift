internal import OrderedCollections
internal import Synchronization

/// What front doors keep about devices: a JSON object for each device, such as how a console shows it. The server does not look
/// into it.
public protocol DeviceMetadataStore: Sendable {
  /// The metadata of a device; an empty object when none were set.
  ///
  /// - Throws: `failed`.
  func metadata(of device: String) async throws(DeviceAdministrationError) -> RPCObject

  /// Sets the metadata of a device, in place of all that there were. An empty object removes them.
  ///
  /// - Parameters:
  ///   - metadata: in JSON at most `DeviceMetadata.longestJSON` bytes.
  ///   - device: the name of the device, which need not be registered.
  ///   - old: what the metadata must be before; nil for anything.
  /// - Returns: false when they were not `old`, and stay as they are.
  /// - Throws: `invalid` for what cannot be stored, `failed`.
  @discardableResult
  func setMetadata(
    _ metadata: RPCObject, of device: String, replacing old: RPCObject?
  ) async throws(DeviceAdministrationError) -> Bool
}

/// The limits and the form of metadata.
public enum DeviceMetadata {
  /// The longest metadata of a device, as JSON: 16 KiB.
  public static let longestJSON = 16 << 10
  /// The number of devices without a registration whose metadata are kept; those that were set first are removed first. 10,000.
  public static let mostUnregistered = 10_000

  /// The metadata as JSON, for a store.
  ///
  /// - Throws: `invalid` for a name that no device has, for metadata that are too long, and for what JSON cannot express.
  package static func json(_ metadata: RPCObject, of device: String) throws(DeviceAdministrationError) -> [UInt8] {
    if let problem = DeviceName.problem(with: device) { throw .invalid("the name of the device \(problem)") }
    var bytes: [UInt8] = []
    do {
      try JSONWriter.write(.object(metadata), to: &bytes)
    } catch {
      throw .invalid("\(error)")
    }
    guard bytes.count <= longestJSON else {
      throw .invalid("the metadata of a device may have \(longestJSON) bytes as JSON, not \(bytes.count)")
    }
    return bytes
  }
}

/// Metadata that are kept in memory, and are gone with the process.
public final class InMemoryDeviceMetadata: DeviceMetadataStore {
  private let devices = Mutex<OrderedDictionary<String, RPCObject>>([:])

  public init() {}

  public func metadata(of device: String) async throws(DeviceAdministrationError) -> RPCObject {
    devices.withLock { $0[device] } ?? RPCObject()
  }

  @discardableResult
  public func setMetadata(
    _ metadata: RPCObject, of device: String, replacing old: RPCObject?
  ) async throws(DeviceAdministrationError) -> Bool {
    _ = try DeviceMetadata.json(metadata, of: device)
    return devices.withLock { devices in
      if let old, old != devices[device] ?? RPCObject() { return false }
      devices[device] = metadata.isEmpty ? nil : metadata
      if devices.count > DeviceMetadata.mostUnregistered { devices.removeFirst() }
      return true
    }
  }
}
