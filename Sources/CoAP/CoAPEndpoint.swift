package import Logging
internal import Glibc

/// A CoAP server on UDP: addresses, and the shards that serve them on one or more loops.
package final class CoAPEndpoint: Sendable {
  package struct Configuration: Sendable {
    package var addresses: [CoAPAddress]
    /// Contexts that one loop serves. The kernel spreads the peers over all of them.
    ///
    /// 32. With 8 or 16 the calls to ten peers are fewer by a twentieth, and 95,000 peers connect more slowly with less
    /// (`rpc-bench drive --shards`).
    package var shardsPerLoop: Int
    /// Bytes asked of the kernel for each socket's receive queue; it gives at most `net.core.rmem_max`.
    package var receiveBuffer = 4 << 20
    package var limits = CoAPLimits()
    package var transmission = CoAPTransmission()

    package init(addresses: [CoAPAddress], shardsPerLoop: Int = 32) {
      self.addresses = addresses
      self.shardsPerLoop = shardsPerLoop
    }
  }

  /// The addresses in the order of the configuration, with the ports that the system chose for port 0.
  package let addresses: [CoAPAddress]
  private let shards: [(loop: EventLoop, shards: ShardList)]

  // Unchecked because the list is touched on its loop's thread only.
  private final class ShardList: @unchecked Sendable {
    var shards: [CoAPShard] = []
    var pump: DatagramPump?

    func close() {
      for shard in shards { shard.close() }
      shards = []
      pump?.close()
      pump = nil
    }
  }

  /// Binds the addresses and serves them on `loops` until `close()`.
  ///
  /// `handlers` has one handler for each loop. Throws `CoAPSystemError` when an address cannot be bound, with
  /// `isAddressInUse` when somebody else has it; nothing is left open then.
  package init(
    _ configuration: Configuration, loops: [EventLoop], handlers: [any CoAPHandler], log: Logger
  ) async throws(CoAPSystemError) {
    CoAPLibrary.start()
    let count = max(1, configuration.shardsPerLoop) * loops.count
    var bound: [CoAPAddress] = []
    var sockets: [[Int32]] = []
    do throws(CoAPSystemError) {
      for address in configuration.addresses {
        let (descriptors, name) = try SharedSocket.bind(
          address, count: count, receiveBuffer: configuration.receiveBuffer)
        sockets.append(descriptors)
        bound.append(name)
      }
    } catch {
      for descriptor in sockets.joined() { Glibc.close(descriptor) }
      throw error
    }
    addresses = bound
    shards = loops.map { ($0, ShardList()) }
    let isIPv6 = bound.map(\.isIPv6)
    let budget = ByteBudget(configuration.limits.transferBytes)
    let limits = configuration.limits
    let transmission = configuration.transmission
    var failure: CoAPSystemError?
    for (number, (loop, list)) in shards.enumerated() {
      let handler = handlers[number]
      let mine = (0..<count).filter { $0 % loops.count == number }.map { shard in sockets.map { $0[shard] } }
      let result = await loop.perform { () -> CoAPSystemError? in
        var mine = mine[...]
        do throws(CoAPSystemError) {
          let pump = try DatagramPump(loop: loop)
          list.pump = pump
          while let descriptors = mine.popFirst() {
            list.shards.append(
              try CoAPShard(
                loop: loop, sockets: descriptors, isIPv6: isIPv6, limits: limits,
                idleSessions: max(16, limits.idleSessions / count), transmission: transmission,
                budget: budget, pump: pump, handler: handler, log: log))
          }
          return nil
        } catch {
          for descriptor in mine.joined() { Glibc.close(descriptor) }
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

  /// Ends every session and observation, whose owners are told, and frees the sockets. May be called twice.
  package func close() async {
    for (loop, list) in shards {
      await loop.perform { list.close() }
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
