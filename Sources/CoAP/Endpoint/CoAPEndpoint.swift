// Endpoint: the server side of CoAP: the listeners, libcoap's contexts, and how a request passes through them. DeviceRPCCoAP
// creates a `CoAPEndpoint` and is its `CoAPHandler`; sockets and sessions call the shard.

internal import Glibc

/// A CoAP server: its listeners, and the libcoap contexts that serve them on one or more loops.
package final class CoAPEndpoint: Sendable {
  package struct Configuration: Sendable {
    package var listeners: [CoAPListener]
    /// The number of contexts of one loop for `coap`. The kernel distributes the peers over all of them.
    ///
    /// Default 32. With 8 or 16, the rate of calls to ten peers is a twentieth lower. With fewer than 32, 95,000 peers take
    /// longer to connect (`rpc-bench drive --shards`).
    package var shardsPerLoop: Int
    /// The same for `coaps`, with two contexts each. Default 8: a handshake costs more than looking at a thousand sessions.
    package var secureShardsPerLoop = 8
    /// Bytes requested from the kernel for the receive buffer of each socket, which it limits to `net.core.rmem_max`. Default
    /// 4 MiB.
    package var receiveBuffer = 4 << 20
    /// The authority and certificate, required for `coaps` and `coaps+tcp`.
    package var security: CoAPSecurity?
    package var limits = CoAPLimits()
    package var transmission = CoAPTransmission()

    package init(listeners: [CoAPListener], shardsPerLoop: Int = 32) {
      self.listeners = listeners
      self.shardsPerLoop = shardsPerLoop
    }

    package init(addresses: [CoAPAddress], shardsPerLoop: Int = 32) {
      self.init(listeners: addresses.map { CoAPListener(.coap, $0) }, shardsPerLoop: shardsPerLoop)
    }
  }

  /// The listeners in the order of the configuration, with the port chosen by the system in place of port 0.
  package let listeners: [CoAPListener]
  package var addresses: [CoAPAddress] { listeners.map(\.address) }
  private let parts: [(loop: EventLoop, part: Part)]

  /// What one loop serves.
  // Unchecked because it is touched on its loop's thread only.
  fileprivate final class Part: @unchecked Sendable {
    var shards: [CoAPShard] = []
    var routers: [SecureRouter] = []
    var pump: DatagramPump?

    func close() {
      for router in routers { router.close() }
      for shard in shards { shard.close() }
      routers = []
      shards = []
      pump?.close()
      pump = nil
    }
  }

  /// The sockets of one listener. Whoever takes a socket out must close it.
  private struct Sockets {
    let listener: CoAPListener
    var descriptors: [Int32]

    /// Every `count`th socket, from `first` on.
    mutating func take(_ first: Int, of count: Int) -> [BoundSocket] {
      let taken = descriptors.indices.filter { $0 % count == first && descriptors[$0] >= 0 }
      return taken.map { index in
        defer { descriptors[index] = -1 }
        return BoundSocket(
          descriptor: descriptors[index], scheme: listener.scheme, isIPv6: listener.address.isIPv6)
      }
    }
  }

  /// Binds the addresses and serves them on `loops` until `close()`.
  ///
  /// `handlers` has one handler for each loop. Throws `CoAPSystemError` when a secure listener has no credentials and when an
  /// address cannot be bound, with `isAddressInUse` when it is already in use. Nothing is left open then.
  package init(
    _ configuration: Configuration, loops: [EventLoop], handlers: [any CoAPHandler]
  ) async throws(CoAPSystemError) {
    CoAPLibrary.start()
    var sockets: [Sockets] = []
    do throws(CoAPSystemError) {
      for listener in configuration.listeners {
        guard !listener.scheme.isSecure || configuration.security != nil else {
          throw CoAPSystemError("listen", code: 0, detail: "\(listener) needs credentials")
        }
        let count = Self.sockets(of: listener.scheme, configuration, loops: loops.count)
        let (descriptors, name) = try SharedSocket.bind(
          listener, count: count, receiveBuffer: configuration.receiveBuffer)
        sockets.append(Sockets(listener: CoAPListener(listener.scheme, name), descriptors: descriptors))
      }
    } catch {
      for descriptor in sockets.flatMap(\.descriptors) { Glibc.close(descriptor) }
      throw error
    }
    listeners = sockets.map(\.listener)
    parts = loops.map { ($0, Part()) }
    let budget = ByteBudget(configuration.limits.transferBytes)
    var failure: CoAPSystemError?
    for (number, (loop, part)) in parts.enumerated() {
      let handler = handlers[number]
      // All connections of a stream listener are served by one loop.
      var streams = 0
      let mine = sockets.indices.map { index in
        guard sockets[index].listener.scheme.isStream else { return sockets[index].take(number, of: loops.count) }
        defer { streams += 1 }
        return streams % loops.count == number ? sockets[index].take(0, of: 1) : []
      }
      let result = await loop.perform { () -> CoAPSystemError? in
        do throws(CoAPSystemError) {
          try part.open(mine, configuration, contexts: loops.count, loop, handler, budget)
          return nil
        } catch {
          return error
        }
      }
      failure = failure ?? result
    }
    if let failure {
      await close()
      throw failure
    }
  }

  private static func sockets(of scheme: CoAPScheme, _ configuration: Configuration, loops: Int) -> Int {
    switch scheme {
    case .coap: max(1, configuration.shardsPerLoop) * loops
    case .coaps: max(1, configuration.secureShardsPerLoop) * loops
    case .coapTCP, .coapsTCP: 1
    }
  }

  /// Uses this certificate for new handshakes. Existing sessions are not affected.
  ///
  /// Throws `CoAPSystemError` when libcoap does not accept it.
  package func use(_ certificate: CoAPCertificate) async throws(CoAPSystemError) {
    for (loop, part) in parts {
      let failure = await loop.perform { () -> CoAPSystemError? in
        do throws(CoAPSystemError) {
          for shard in part.shards { try shard.use(certificate) }
          return nil
        } catch {
          return error
        }
      }
      if let failure { throw failure }
    }
  }

  /// Ends the sessions for which `reason` returns a reason. It is called on their loops.
  package func closeSessions(_ reason: @escaping @Sendable (CoAPSession) -> String?) async {
    for (loop, part) in parts {
      await loop.perform { for shard in part.shards { shard.closeSessions(reason) } }
    }
  }

  /// Ends all sessions and observations, notifies their owners, and closes the sockets. May be called twice.
  package func close() async {
    for (loop, part) in parts {
      await loop.perform { part.close() }
    }
  }
}

extension CoAPEndpoint.Part {
  /// Opens the contexts for `sockets`, which has a list for each listener. When one cannot be opened, closes the remaining
  /// sockets.
  fileprivate func open(
    _ sockets: [[BoundSocket]], _ configuration: CoAPEndpoint.Configuration, contexts: Int, _ loop: EventLoop,
    _ handler: any CoAPHandler, _ budget: ByteBudget
  ) throws(CoAPSystemError) {
    // The nth sockets of all listeners of a kind share a context.
    func columns(_ belongs: (CoAPScheme) -> Bool) -> [[BoundSocket]] {
      let rows = sockets.filter { $0.first.map { belongs($0.scheme) } ?? false }
      return (0..<(rows.map(\.count).max() ?? 0)).map { column in rows.compactMap { $0.dropFirst(column).first } }
    }
    let streams = columns(\.isStream)
    // One socket per context: peers of two listeners may have the same address and port.
    let plain = sockets.joined().filter { $0.scheme == .coap }.map { [$0] }
    let secure = sockets.joined().filter { $0.scheme == .coaps }.map { [$0] }
    var remaining = (plain + secure + streams)[...]
    do throws(CoAPSystemError) {
      let pump = try DatagramPump(loop: loop)
      self.pump = pump
      let limits = configuration.limits
      // libcoap applies its limits per endpoint, and two contexts read each DTLS socket.
      let endpoints = max(1, contexts * (plain.joined().count + streams.joined().count + 2 * secure.count))
      let handshakes = max(16, limits.handshakes / max(1, 2 * contexts * secure.count))
      let streamLoops = max(1, min(contexts, configuration.listeners.count(where: \.scheme.isStream)))
      func shard(_ sockets: [BoundSocket], security: CoAPSecurity?) throws(CoAPSystemError) -> CoAPShard {
        let shard = try CoAPShard(
          loop: loop, sockets: sockets, security: security, limits: limits,
          idleSessions: max(16, limits.idleSessions / endpoints), handshakes: handshakes,
          connections: max(1, limits.connections / streamLoops),
          transmission: configuration.transmission, budget: budget, pump: pump, handler: handler)
        shards.append(shard)
        return shard
      }
      while let next = remaining.popFirst() {
        let security = next.contains { $0.scheme.isSecure } ? configuration.security : nil
        guard next.contains(where: { $0.scheme == .coaps }) else {
          _ = try shard(next, security: security)
          continue
        }
        let copies = next.map { BoundSocket(descriptor: dup($0.descriptor), scheme: $0.scheme, isIPv6: $0.isIPv6) }
        // Closed with the remaining ones when the first shard cannot be opened.
        remaining.insert(copies, at: remaining.startIndex)
        let first = try shard(next, security: security)
        remaining.removeFirst()
        let second = try shard(copies, security: security)
        routers.append(try SecureRouter(loop: loop, pump: pump, sides: [first, second]))
      }
    } catch {
      for socket in remaining.joined() { Glibc.close(socket.descriptor) }
      throw error
    }
  }
}

extension EventLoop {
  /// Runs `body` on the loop's thread and returns its result.
  package func perform<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
      execute { continuation.resume(returning: body()) }
    }
  }
}
