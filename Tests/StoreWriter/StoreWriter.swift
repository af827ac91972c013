import DeviceRPC
import DeviceRPCStore
import Foundation

/// Adds devices to a store, one after the other and without an end, and says the name of each when it is there: a
/// process that tests may kill in the middle of it.
@main struct StoreWriter {
  static func main() async throws {
    let store = try DeviceStore(directory: CommandLine.arguments[1])
    let prefix = CommandLine.arguments[2]
    for number in 0... {
      let name = "\(prefix)\(number)"
      try await store.add(name, identity: "\(name)@lab", proof: .preSharedKey(.generated()))
      // Half of them have a second write, which may be cut in the middle as well.
      if number.isMultiple(of: 2) { try await store.setEnabled(false, name) }
      // One system call, so that a line is there or not.
      FileHandle.standardOutput.write(Data("\(name)\n".utf8))
    }
  }
}
