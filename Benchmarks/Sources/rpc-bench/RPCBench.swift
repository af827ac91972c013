internal import ArgumentParser

@main
struct RPCBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rpc-bench",
    abstract: "Load for CoAP RPC servers, on loopback.",
    subcommands: [Drive.self, Fleet.self, Flood.self, Window.self, HTTPServer.self, HTTPLoad.self, Persist.self, OpenJournal.self])
}
