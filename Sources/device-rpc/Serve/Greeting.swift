internal import DeviceRPC
internal import DeviceRPCStore

/// The first lines that `serve` prints: where it listens, and what can be typed next.
enum Greeting {
  /// `devices` are those of the store, if there is one. `dataAgain` is the `--data` option as another command needs it.
  static func lines(addresses: [String], devices: [StoredDevice]?, dataAgain: String) -> [String] {
    var lines = addresses.map { "listening on \($0)" }
    if devices?.isEmpty == true {
      lines.append("no device may connect with a key yet: device-rpc devices add sensor-1\(dataAgain)")
    }
    let devices = devices ?? []
    let keyed = devices.lazy.filter(\.isEnabled).compactMap { device in
      device.credentials.first { $0.kind == .preSharedKey }.map { (name: device.name, identity: $0.identity) }
    }.first
    // Over plain CoAP, the name of a device that has credentials cannot be used.
    let taken = Set(devices.map(\.name))
    let free = (1...devices.count + 1).lazy.map { "sensor-\($0)" }.first { !taken.contains($0) } ?? "sensor-1"
    for scheme in ["coaps", "coap", "coaps+tcp", "coap+tcp"] {
      guard let listener = addresses.first(where: { $0.hasPrefix("\(scheme)://") }) else { continue }
      let (host, port) = reach(listener.dropFirst(scheme.count + 3))
      let place =
        (scheme == "coap" ? "" : " --transport \(scheme)") + (host == "127.0.0.1" ? "" : " --server \(host)") + " --port \(port)"
      let uri = "\(scheme)://\(host.contains(":") ? "[\(host)]" : host):\(port)/.rpc"
      let name: String
      if !scheme.hasPrefix("coaps") {
        name = free
        lines.append("connect a device:  device-rpc simulate\(place)" + (name == "sensor-1" ? "" : " --name \(name)"))
        lines.append("or by hand:        coap-client-openssl -w -s 600 -A 50 '\(uri)?ep=\(name)'")
      } else if let keyed {
        name = keyed.name
        let (quoted, identity) = (CertificateNames.quoted(name), CertificateNames.quoted(keyed.identity))
        lines.append("connect a device:  device-rpc simulate\(place) --name \(quoted) --identity \(identity) --key KEY")
        lines.append("or by hand:        coap-client-openssl -w -s 600 -A 50 -u \(identity) -k KEY \(CertificateNames.quoted(uri))")
      } else {
        continue
      }
      let typed = name.contains(where: \.isWhitespace) ? RPCValue.string(name).description : name
      lines.append("then call it here: \(typed) multiply 7 191        (\"help\" shows more)")
      break
    }
    return lines
  }

  /// How a listener is reached from this machine: `::1` and `5684` for `[::]:5684`.
  private static func reach(_ address: Substring) -> (host: String, port: Substring) {
    let colon = address.lastIndex(of: ":") ?? address.endIndex
    let host = address[..<colon].filter { $0 != "[" && $0 != "]" }
    return (host == "0.0.0.0" ? "127.0.0.1" : host == "::" ? "::1" : String(host), address[colon...].dropFirst())
  }
}
