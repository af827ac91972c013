import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

/// `device-rpc users`: a password is a line of standard input.
@Suite(.timeLimit(.minutes(1))) struct UsersTests {
  private func users(_ data: DataDirectory, _ arguments: [String], password: String? = nil) async throws -> (code: Int32?, output: [String], error: [String]) {
    let command = try RunningCommand(["users"] + arguments + ["--data", data.directory])
    defer { command.send(SIGKILL) }
    if let password { try command.type(password) }
    try command.closeInput()
    let code = await command.exitCode()
    return (code, await command.rest(), await command.rest(.error))
  }

  @Test func `users are added, listed, given a password, and removed`() async throws {
    try await withData { data in
      let added = try await users(data, ["add", "a@b.c"], password: "a long password")
      #expect(added.code == 0 && added.output == ["a@b.c added to \(data.directory)"])
      #expect(try await users(data, ["add", "d", "--role", "customer-user"], password: "another password").code == 0)
      let list = try await users(data, ["list"]).output
      #expect(list.count == 3 && list[1].contains("TENANT_ADMIN") && list[2].contains("CUSTOMER_USER"))
      let store = try data.store()
      #expect(store.user("a@b.c")?.password.matches("a long password") == true)
      store.close()
      #expect(try await users(data, ["password", "d"], password: "a third password").output == ["d has a new password"])
      #expect(try await users(data, ["remove", "d"]).output == ["d is removed"])
      #expect(try await users(data, ["list", "--json"]).output.first?.contains(#""authority":"TENANT_ADMIN""#) == true)
    }
  }

  @Test func `what cannot be done is one line, with exit code 1`() async throws {
    try await withData { data in
      let place = "--data \(data.directory)"
      let missing = try await users(data, ["list"])
      #expect(missing.code == 1)
      #expect(missing.error == ["Error: there is no store of devices in \(data.directory); the first user makes one: device-rpc users add tenant@example.org \(place)"])
      let short = try await users(data, ["add", "a"], password: "short")
      #expect(short.code == 1 && short.error == ["Error: a password has 8 to 256 bytes"])
      #expect(!FileManager.default.fileExists(atPath: data.directory))
      #expect(try await users(data, ["add", "a"], password: "a long password").code == 0)
      #expect(try await users(data, ["add", "a"], password: "a long password").error == ["Error: there is a user \"a\" already"])
      #expect(try await users(data, ["remove", "b"]).error == ["Error: no user is named \"b\"; to see all: device-rpc users list \(place)"])
      #expect(try await users(data, ["add", "a", "--role", "king"], password: "a long password").code == 64)
    }
  }
}
