// Store: the database of a directory: its files, its tables, access to it, and the changes that others make to it.
// The rooms Devices and APIKeys are about what is in it; they know this room, and this one their snapshots.

internal import DeviceRPC
internal import GRDB

extension DeviceStore {
  /// Runs `body` in a transaction. Returns when its changes are on the disk and in the snapshot.
  ///
  /// `erasing`: whether the write-ahead log is emptied afterwards, since it has a secret that was replaced or removed.
  func write<Value: Sendable>(
    erasing: Bool = false, _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws(DeviceStoreError) -> Value {
    let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
      access { queue in
        queue.asyncWrite { db in
          let value = try body(db)
          try db.execute(
            sql: "DELETE FROM changes WHERE sequence <= (SELECT max(sequence) FROM changes) - ?",
            arguments: [StoreSchema.rememberedChanges])
          return value
        } completion: { db, result in
          if case .success = result {
            self.catchUpAfterWriting(db)
            if erasing { StoreSchema.emptyLog(db) }
            self.noteWritten()
          }
          continuation.resume(returning: result)
        }
      } otherwise: {
        continuation.resume(returning: .failure($0))
      }
    }
    return try value(result)
  }

  /// Throws when nothing can be written, as on a full disk or while somebody else keeps the database locked.
  package func checkWritable() async throws(DeviceStoreError) {
    try await write { db in try db.execute(sql: "UPDATE devices SET enabled = enabled WHERE id = -1") }
  }

  /// Runs `body`, which changes nothing, in a transaction.
  func read<Value: Sendable>(
    _ body: @escaping @Sendable (Database) throws -> Value
  ) async throws(DeviceStoreError) -> Value {
    let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
      access { queue in
        // `asyncRead` traps when the connection has been closed.
        queue.asyncWriteWithoutTransaction { db in
          continuation.resume(
            returning: Result {
              var value: Value?
              try db.inTransaction(.deferred) {
                value = try body(db)
                return .commit
              }
              guard let value else { preconditionFailure("the transaction has run") }
              return value
            })
        }
      } otherwise: {
        continuation.resume(returning: .failure($0))
      }
    }
    return try value(result)
  }

  private func value<Value>(_ result: Result<Value, any Error>) throws(DeviceStoreError) -> Value {
    do {
      return try result.get()
    } catch {
      throw DeviceStoreError(error, path: path)
    }
  }
}
