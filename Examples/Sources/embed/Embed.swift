import DeviceRPC
import DeviceRPCCoAP
import Foundation
import Logging
import ServiceLifecycle

struct Product: Decodable { let value: Int }

@main struct Embed {
  static func main() async throws {
    let server = try DeviceRPCServer()  // CoAP on 127.0.0.1:5683
    let services = ServiceGroup(
      services: [server], gracefulShutdownSignals: [.sigint, .sigterm], logger: Logger(label: "embed"))
    async let running: Void = services.run()
    do throws(CallError) {
      let product = try await server.device("sensor-1")
        .call("multiply", 7, 191, as: Product.self, wait: .seconds(60))
      print(product.value)
    } catch {
      print(error)
    }
    await services.triggerGracefulShutdown()
    do {
      try await running
    } catch {
      print("the server could not run: \(error)")
      exit(1)
    }
  }
}
