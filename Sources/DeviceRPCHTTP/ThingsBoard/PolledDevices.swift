// ThingsBoard: ThingsBoard's HTTP API for devices: a device asks for its calls, posts their results, and calls the server.
// The room Server mounts its routes, which are not of the API of back ends: other tokens, other errors.

internal import DeviceRPC
internal import Synchronization

/// The devices that ask for their calls over HTTP, by their names.
final class PolledDevices: Sendable {
  private let directory: DeviceDirectory
  private let limit: Int
  private let links = Mutex<[String: PolledLink]>([:])

  /// - Parameter limit: the longest call, in bytes.
  init(_ directory: DeviceDirectory, limit: Int) {
    self.directory = directory
    self.limit = limit
  }

  /// Whether a device is connected with this credential, from this host.
  func isConnected(_ credential: DeviceCredential, from host: String) -> Bool {
    guard let link = links.withLock({ $0[credential.device] }), link.credential == credential else { return false }
    return link.host == host
  }

  /// A request of a device that is not for a call has arrived.
  func heard(_ device: String, from address: String) { links.withLock { $0[device] }?.heard(from: address) }

  /// The link of a device that asks for a call: the one that it has, or a new one. Nil when the server takes no more devices.
  func link(_ device: String, _ credential: DeviceCredential?, at address: String, _ host: String) async -> PolledLink? {
    let home = directory.home(of: device)
    let (link, isNew) = links.withLock { links in
      if let link = links[device], link.credential == credential { return (link, false) }
      let link = PolledLink(device: device, home: home, credential: credential, address: address, host: host, limit: limit) { [weak self] in
        self?.forget($0)
      }
      links[device] = link
      return (link, true)
    }
    guard isNew else { return link }
    guard await home.observed(device, on: link, by: credential) else {
      link.end("the server takes no more devices at the moment")
      return nil
    }
    // Its token may have been revoked meanwhile.
    if link.isOver { home.run { $0.unobserved(link, reason: "its access token was removed", isRevoked: true) } }
    return link
  }

  private func forget(_ link: PolledLink) {
    links.withLock { links in
      if links[link.device] === link { links[link.device] = nil }
    }
  }

  /// Ends the connections of devices whose access token has changed.
  func endRevoked(_ credentials: any DeviceCredentials) {
    for link in all {
      if let credential = link.credential {
        let current = credentials.credential(.accessToken, identity: credential.identity)
        if current != credential { link.revoke(current?.isEnabled == false ? "it was disabled" : "its access token was removed") }
      } else if credentials.knows(device: link.device) {
        link.revoke("it needs its access token now")
      }
    }
    for home in directory.loops {
      home.run { home in
        home.endCalls { device, credential in
          guard let credential else { return credentials.knows(device: device) ? "it needs its access token now" : nil }
          guard credential.kind == .accessToken else { return nil }
          return credentials.credential(.accessToken, identity: credential.identity) == credential ? nil : "its access token was removed"
        }
      }
    }
  }

  /// Ends all connections; the server is shutting down.
  func end() {
    for link in all { link.end("the server is shutting down") }
  }

  /// How many devices wait for a call.
  var waiting: Int { all.count(where: \.takesCalls) }

  private var all: [PolledLink] { links.withLock { Array($0.values) } }
}
