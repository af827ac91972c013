/// What an API key may do, and with which devices.
///
/// Names are compared byte by byte in UTF-8. A name that only looks the same, in another normalization form, is another name.
public struct APIPermissions: Sendable, Hashable {
  /// The devices that a key is for. The others do not exist for it: it neither calls, nor reads, nor administers them.
  public enum DeviceScope: Sendable, Hashable {
    case all
    /// The devices of these names, and those whose names begin with one of the prefixes.
    case only(names: Set<String>, prefixes: Set<String> = [])
  }

  /// The methods that a key may call.
  public enum MethodScope: Sendable, Hashable {
    case all
    /// These methods; with an empty set the key may not call.
    case only(Set<String>)

    /// No methods: the key may not call.
    public static let none = MethodScope.only([])
  }

  public var devices: DeviceScope
  /// The methods that may be called on these devices.
  public var methods: MethodScope
  /// Whether these devices, their calls and their events may be looked at.
  public var allowsReading: Bool
  /// Whether these devices may be added, changed and removed, with their credentials.
  public var allowsAdministering: Bool

  public init(
    devices: DeviceScope = .all, methods: MethodScope = .all, allowsReading: Bool = true, allowsAdministering: Bool = false
  ) {
    self.devices = devices
    self.methods = methods
    self.allowsReading = allowsReading
    self.allowsAdministering = allowsAdministering
  }

  /// Calling all methods of all devices, and reading; not administering.
  public static let standard = APIPermissions()
  /// Everything, with all devices.
  public static let all = APIPermissions(allowsAdministering: true)
  /// Nothing.
  public static let none = APIPermissions(
    devices: .only(names: []), methods: .none, allowsReading: false, allowsAdministering: false)

  /// Returns whether a method of a device may be called.
  public func mayCall(_ method: String, on device: String) -> Bool {
    methods.includes(method) && devices.includes(device)
  }

  /// Returns whether a device, its calls and its events may be looked at.
  public func mayRead(_ device: String) -> Bool { allowsReading && devices.includes(device) }

  /// Returns whether a device may be added, changed and removed.
  public func mayAdminister(_ device: String) -> Bool { allowsAdministering && devices.includes(device) }
}

extension APIPermissions.DeviceScope {
  /// Returns whether a device is one of these, whether or not there is one of that name.
  public func includes(_ device: String) -> Bool {
    switch self {
    case .all: true
    case .only(let names, let prefixes):
      names.containsBytes(of: device) || prefixes.contains { device.utf8.starts(with: $0.utf8) }
    }
  }
}

extension APIPermissions.MethodScope {
  /// Returns whether a method is one of these.
  public func includes(_ method: String) -> Bool {
    switch self {
    case .all: true
    case .only(let names): names.containsBytes(of: method)
    }
  }
}

extension Set<String> {
  // A set finds an element that is canonically equivalent, of which it has one at most.
  fileprivate func containsBytes(of text: String) -> Bool {
    firstIndex(of: text).map { self[$0].utf8.elementsEqual(text.utf8) } ?? false
  }
}

// MARK: - As a value

extension APIPermissions {
  /// The permissions as they are stored and shown to programs:
  /// `{"devices":{"names":["pump"],"prefixes":["plant-"]},"methods":"all","read":true,"administer":false}`.
  package var value: RPCValue {
    let deviceValue: RPCValue =
      switch devices {
      case .all: "all"
      case .only(let names, let prefixes): ["names": .sorted(names), "prefixes": .sorted(prefixes)]
      }
    let methodValue: RPCValue =
      switch methods {
      case .all: "all"
      case .only(let names): .sorted(names)
      }
    return [
      "devices": deviceValue, "methods": methodValue, "read": .bool(allowsReading), "administer": .bool(allowsAdministering),
    ]
  }

  /// Reads permissions; nil for anything that `value` does not return. A member that is not known may be a restriction of a
  /// later version, so it is not ignored.
  package init?(_ value: RPCValue) {
    guard let object = value.objectValue, Set(object.keys) == ["devices", "methods", "read", "administer"],
      let read = object["read"]?.boolValue, let administer = object["administer"]?.boolValue
    else { return nil }
    if object["devices"] == "all" {
      devices = .all
    } else {
      guard let scope = object["devices"]?.objectValue, Set(scope.keys) == ["names", "prefixes"],
        let names = scope["names"]?.texts, let prefixes = scope["prefixes"]?.texts
      else { return nil }
      devices = .only(names: names, prefixes: prefixes)
    }
    if object["methods"] == "all" {
      methods = .all
    } else {
      guard let names = object["methods"]?.texts else { return nil }
      methods = .only(names)
    }
    allowsReading = read
    allowsAdministering = administer
  }
}

extension RPCValue {
  fileprivate static func sorted(_ texts: Set<String>) -> RPCValue { .array(texts.sorted().map(RPCValue.string)) }

  // Nil unless this is an array of text.
  fileprivate var texts: Set<String>? {
    guard let elements = arrayValue else { return nil }
    let texts = elements.compactMap(\.stringValue)
    return texts.count == elements.count ? Set(texts) : nil
  }
}
