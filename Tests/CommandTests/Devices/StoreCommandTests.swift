import Foundation
import Testing

/// What `device-rpc devices` and `device-rpc keys` have in common.
@Suite(.timeLimit(.minutes(1))) struct StoreCommandTests {
  @Test(arguments: [
    "devices list", "devices show a", "devices rotate a", "devices enable a", "devices disable a", "devices remove a", "keys list",
    "keys revoke a",
  ])
  func `without a store the other commands say how to make one`(_ command: String) async throws {
    let isKeys = command.hasPrefix("keys")
    let first = isKeys ? "key makes one: device-rpc keys add billing" : "device makes one: device-rpc devices add sensor-1"
    try await withData { data in
      let finished = try await data.command(command.split(separator: " ").map(String.init))
      #expect(finished.code == 1 && finished.output.isEmpty)
      #expect(
        finished.error == ["Error: there is no store of devices in \(data.directory); the first \(first) --data \(data.directory)"])
      #expect(!FileManager.default.fileExists(atPath: data.directory))
    }
  }

  @Test func `what cannot be done is one line, with exit code 1`() async throws {
    try await withData { data in
      #expect(try await data.devices("add", "a", "--key", "supersecret").code == 0)
      #expect(try await data.keys("add", "a").code == 0)
      let place = "--data \(data.directory)"
      for (arguments, line) in [
        (
          ["devices", "add", "a", "--key", "othersecret"],
          "\"a\" has a key already; to replace it: device-rpc devices rotate a \(place)"
        ),
        (["devices", "add", "b", "--identity", "a", "--key", "othersecret"], "the identity \"a\" is that of the device \"a\""),
        (["devices", "remove", "b"], "no device is named \"b\"; to see all: device-rpc devices list \(place)"),
        (["devices", "add", ""], "\"\" cannot be the name of a device: it is empty"),
        (["devices", "add", "\u{1b}[2J"], "\"\\u{1b}[2J\" cannot be the name of a device: it has a control character, U+001B"),
        (
          ["devices", "add", "b", "--identity", "b\u{200b}"],
          "\"b\\u{200b}\" cannot be an identity: it has an invisible character, U+200B"
        ),
        (["devices", "add", "b", "--certificate", "/nowhere"], "cannot read /nowhere: No such file or directory"),
        (["keys", "add", "a"], "there is a key \"a\" already; to replace it, first: device-rpc keys revoke a \(place)"),
        (["keys", "revoke", "b"], "no key is named \"b\"; to see all: device-rpc keys list \(place)"),
        (["keys", "add", "b\u{200b}"], "\"b\\u{200b}\" cannot be the name of a key: it has an invisible character, U+200B"),
      ] {
        let finished = try await data.command(arguments)
        #expect(finished.error == ["Error: \(line)"])
        #expect(finished.code == 1 && finished.output.isEmpty)
      }
    }
  }

  private static let wrongDevices = [
    ["add"], ["add", "a", "--key", ""], ["add", "a", "--key", String(repeating: "k", count: 65)], ["add", "a", "--key", "a\u{7}"],
    ["add", "a", "--key", "k", "--common-name", "a"], ["add", "a", "--certificate", "f", "--common-name", "a"],
    ["add", "a", "--identity", "a", "--project", "p"], ["rotate", "a", "--key", "k", "--certificate", "f"], ["nonsense"],
    ["add", "a", "--access-token", "--key", "k"], ["add", "a", "--token", "a b"], ["add", "a", "--token", ""],
    ["rotate", "a", "--access-token", "--certificate", "f"], ["add", "a", "--token", "t", "--common-name", "a"],
    ["list", "--server", "http://127.0.0.1:1"], ["list", "--api-key", "k"],
  ] + ["a b", "a:1:2", "1:2:3", "[::1", "[a]", "[::1]7", "a:", ":5684", "a:65536"].map { ["add", "a", "--coap-host", $0] }

  private static let wrongKeys = [
    ["add"], ["revoke"], ["nonsense"], ["list", "--server", "http://127.0.0.1:1"],
  ] + ["soon", "2020-01-31", "2100-02-30", "0d", "9999999d", "90", ""].map { ["add", "a", "--expires", $0] }
    + ["", "a,,b", "a*b", "a**", "u\u{308}"].map { ["add", "a", "--devices", $0] }
    + ["", "re*", "a\u{7}"].map { ["add", "a", "--methods", $0] }

  @Test(arguments: wrongDevices.map { ["devices"] + $0 } + wrongKeys.map { ["keys"] + $0 })
  func `wrong usage is exit code 64`(_ arguments: [String]) async throws {
    try await withData { data in
      let finished = try await data.command(arguments)
      #expect(finished.code == 64)
      #expect(finished.error.first?.hasPrefix("Error: ") == true)
      #expect(!FileManager.default.fileExists(atPath: data.directory))
    }
  }

  @Test(arguments: [
    "devices", "devices add", "devices list", "devices show", "devices rotate", "devices enable", "devices disable", "devices remove",
    "keys", "keys add", "keys list", "keys revoke",
  ])
  func `help has examples`(_ command: String) async throws {
    let words = command.split(separator: " ").map(String.init)
    let help = try await run(words + ["--help"])
    #expect(help.output.joined(separator: "\n").contains("Examples:\n  device-rpc \(words[0])"))
    #expect(help.code == 0)
  }
}
