internal import ArgumentParser
internal import DeviceRPC
internal import Glibc

@main
struct DeviceRPCCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device-rpc",
    abstract: "Call functions on constrained devices over CoAP.",
    discussion: """
      A device keeps one CoAP observation open on a server; a call travels to it as a notification, and its result \
      comes back as a POST. Firmware written for Golioth's device API connects unchanged.

      See it work, in one command and without a device:
        device-rpc demo

      Try it in two terminals:
        device-rpc serve
        device-rpc simulate
      and then type into the first one:
        sensor-1 multiply 7 191
      """,
    version: packageVersion,
    subcommands: [
      DemoCommand.self, ServeCommand.self, CallCommand.self, WatchCommand.self, SimulateCommand.self, CertsCommand.self,
      DevicesCommand.self, KeysCommand.self, UsersCommand.self,
    ])

  static func main() async {
    raiseDescriptorLimit()
    // The reader of the output may exit (`serve | head -4`); a command that does more than print continues without it.
    signal(SIGPIPE, SIG_IGN)
    await main(nil)
  }
}
