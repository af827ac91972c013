internal import ArgumentParser

@main
struct RPCBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rpc-bench",
    abstract: "Load for CoAP RPC servers, on loopback.",
    subcommands: [Fleet.self])
}
