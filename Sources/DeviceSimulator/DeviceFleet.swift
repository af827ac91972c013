// DeviceSimulator: simulated devices that behave like firmware, over each transport.
// For the program `device-rpc`, the benchmarks and the tests. It does not use the server's modules.

internal import CoAP

/// Many simulated devices on one thread.
public struct DeviceFleet: Sendable {
  /// Devices that share a libcoap context. Limited, since libcoap searches all sessions of a context for each datagram.
  private static let devicesPerClient = 64

  private let devices: [SimulatedDevice]

  public init(_ devices: [SimulatedDevice]) { self.devices = devices }

  /// Runs all devices until the task is cancelled. Then they deregister from their servers, and this method returns when all
  /// sockets are closed.
  ///
  /// - Throws: `SimulatorError` before anything is sent.
  public func run() async throws(SimulatorError) {
    var addresses: [CoAPAddress] = []
    for device in devices { addresses.append(try device.address()) }
    let loop: EventLoop
    do throws(CoAPSystemError) {
      loop = try EventLoop(name: "simulator")
    } catch {
      throw .system(error.description)
    }
    var clients: [CoAPClient] = []
    var failure: SimulatorError?
    do throws(CoAPSystemError) {
      for _ in stride(from: 0, to: devices.count, by: Self.devicesPerClient) {
        clients.append(try await CoAPClient(loop: loop))
      }
      await run(on: clients, to: addresses)
    } catch {
      failure = .system(error.description)
    }
    for client in clients { await client.close() }
    await loop.stop()
    if let failure { throw failure }
  }

  private func run(on clients: [CoAPClient], to addresses: [CoAPAddress]) async {
    await withDiscardingTaskGroup { group in
      for (number, device) in devices.enumerated() {
        let client = clients[number / Self.devicesPerClient]
        group.addTask { await device.run(on: client, to: addresses[number]) }
      }
    }
  }
}
