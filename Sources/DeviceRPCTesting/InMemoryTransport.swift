package import DeviceRPC
internal import Synchronization

/// A link without a network. It gets the home loop of its device before the first call.
package protocol InMemoryLink: DeviceLink {
  func attach(to home: DeviceLoop)
}

/// A transport in memory: manual loops, and links that a test connects.
package final class InMemoryTransport: DeviceTransport {
  private struct State {
    var directory: DeviceDirectory?
    var isClosed = false
    var links: [String: any InMemoryLink] = [:]
  }

  package let loops: [ManualLoop]
  package let addresses = ["memory:"]
  private let state = Mutex(State())

  package init(loops: Int = 1) {
    self.loops = (0..<max(1, loops)).map { _ in ManualLoop() }
  }

  package var drivers: [any LoopDriver] { loops }
  package let callerExecutors: [any TaskExecutor] = []

  /// The home loops of the devices; nil before the server has been started.
  package var directory: DeviceDirectory? { state.withLock { $0.directory } }

  package func start(_ directory: DeviceDirectory) async throws {
    let links = state.withLock { state in
      state.directory = directory
      return state.links
    }
    for (name, link) in links { await Self.attach(link, name, directory) }
  }

  /// Connects a device with a link that replaces any other link of it. Before the server has been started, it is connected at
  /// the start. Returns false if the server has no room for it, or is closed.
  @discardableResult
  package func connect(_ name: String, _ link: any InMemoryLink) async -> Bool {
    let (directory, isClosed) = state.withLock { state in
      if !state.isClosed { state.links[name] = link }
      return (state.directory, state.isClosed)
    }
    if isClosed { return false }
    guard let directory else { return true }
    return await Self.attach(link, name, directory)
  }

  package func disconnect(_ name: String, reason: String = "it was disconnected") async {
    let (directory, link) = state.withLock { ($0.directory, $0.links.removeValue(forKey: name)) }
    if let link { await directory?.home(of: name).unobserved(link, reason: reason) }
  }

  /// Revokes the trust in a device: its link ends, if there is one, and so do its calls.
  package func revoke(_ name: String, reason: String) async {
    let (directory, link) = state.withLock { ($0.directory, $0.links.removeValue(forKey: name)) }
    guard let home = directory?.home(of: name) else { return }
    if let link { await home.unobserved(link, reason: reason, isRevoked: true) }
    await home.endCalls { device, _ in device == name ? reason : nil }
  }

  @discardableResult
  private static func attach(_ link: any InMemoryLink, _ name: String, _ directory: DeviceDirectory) async -> Bool {
    let home = directory.home(of: name)
    link.attach(to: home)
    return await home.online(name, link)
  }

  /// Moves the clocks of all loops, one after the other.
  package func advance(by duration: Duration) async {
    for loop in loops { await loop.advance(by: duration) }
  }

  package func settle() async {
    for loop in loops { await loop.settle() }
  }

  package func close() async {
    let (directory, links) = state.withLock { state in
      defer { state.links = [:] }
      state.isClosed = true
      return (state.directory, state.links)
    }
    for (name, link) in links {
      await directory?.home(of: name).unobserved(link, reason: "the server was closed")
    }
  }
}

extension DeviceLoop {
  // In one hop to the loop, so that nothing runs between the two steps.
  fileprivate func online(_ name: String, _ link: any InMemoryLink) -> Bool {
    guard observed(name, on: link) else { return false }
    ready(link)
    return true
  }
}
