import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Testing

@Suite(.timeLimit(.minutes(1))) struct UserStoreTests {
  @Test func `a user is added, found, and removed`() async throws {
    try await withStore { store in
      #expect(!store.hasUsers)
      let password = try #require(PasswordHash(of: "a long password"))
      let user = try await store.addUser("tenant@example.org", .tenantAdmin, password: password)
      #expect(store.user("tenant@example.org") == user && store.hasUsers && store.user("TENANT@example.org") == nil)
      #expect(try await store.users() == [user])
      await #expect(throws: DeviceStoreError.userNameTaken("tenant@example.org")) {
        try await store.addUser("tenant@example.org", .customerUser, password: password)
      }
      await #expect(throws: DeviceStoreError.invalidUserName("")) { try await store.addUser("", .customerUser, password: password) }
      let next = try #require(PasswordHash(of: "another password"))
      try await store.setPassword(next, of: "tenant@example.org")
      let changed = try #require(store.user("tenant@example.org"))
      #expect(changed.password == next && changed.changed >= user.changed && changed.created == user.created)
      await #expect(throws: DeviceStoreError.unknownUser("x")) { try await store.setPassword(next, of: "x") }
      try await store.removeUser("tenant@example.org")
      #expect(store.user("tenant@example.org") == nil && !store.hasUsers)
      await #expect(throws: DeviceStoreError.unknownUser("x")) { try await store.removeUser("x") }
    }
  }

  @Test func `the secret of sessions stays the same, and no password is in the files`() async throws {
    try await withDirectory { directory in
      let first = try DeviceStore(directory: directory)
      let secret = first.sessionSecret
      #expect(secret.count == 64)
      try await first.addUser("tenant", .tenantAdmin, password: try #require(PasswordHash(of: "a very secret password")))
      first.close()
      let second = try DeviceStore(directory: directory)
      defer { second.close() }
      #expect(second.sessionSecret == secret && second.user("tenant")?.password.matches("a very secret password") == true)
      for file in try FileManager.default.contentsOfDirectory(atPath: directory) {
        let content = try Data(contentsOf: URL(fileURLWithPath: directory).appendingPathComponent(file))
        #expect(content.range(of: Data("a very secret password".utf8)) == nil)
      }
    }
  }

  @Test func `users that others change are noticed, and those that make no sense are left out`() async throws {
    try await withStore { store in
      try await store.addUser("a", .tenantAdmin, password: try #require(PasswordHash(of: "a long password")))
      let other = try DatabaseQueue(path: store.path)
      try await other.write { db in
        try db.execute(
          sql: """
            INSERT INTO users SELECT 'b', 'KING', password, created, changed FROM users;
            INSERT INTO users SELECT 'c', authority, 'plain', created, changed FROM users WHERE name = 'a';
            UPDATE users SET authority = 'CUSTOMER_USER' WHERE name = 'a'
            """)
      }
      // A write of this store reads what others have changed.
      try await store.addUser("d", .tenantAdmin, password: try #require(PasswordHash(of: "a long password")))
      #expect(store.user("a")?.authority == .customerUser && store.user("b") == nil && store.user("c") == nil)
    }
  }
}
