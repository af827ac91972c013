import Foundation
import Testing

@testable import DeviceRPC

@Suite struct CallIDTests {
  @Test func `an id is a UUID of version 7 with its time, its server and its number`() throws {
    let id = CallID(milliseconds: 0x019a_c3f2_8d10, instance: 0x3ff_ffff_ffff, serial: 0x74e4)
    #expect(id.description == "019ac3f2-8d10-7fff-bfff-ffff000074e4")
    #expect(id.serial == 0x74e4 && id.instance == 0x3ff_ffff_ffff)
    let uuid = try #require(UUID(uuidString: id.description))
    #expect(uuid.uuid.6 >> 4 == 7 && uuid.uuid.8 >> 6 == 2)
  }

  @Test func `an id is read as it was written, and nothing else is`() {
    for _ in 0..<1_000 {
      let id = CallID(
        milliseconds: .random(in: 0..<1 << 48), instance: .random(in: 0...CallID.instanceBits), serial: .random(in: 0...(.max)))
      #expect(CallID(id.description) == id)
      #expect(CallID(id.description.uppercased()) == id)
    }
    let right = "019ac3f2-8d10-7fff-bfff-ffff000074e4"
    for wrong in [
      "", "x", right + "0", String(right.dropLast()), right.replacingOccurrences(of: "-", with: "0"),
      "019ac3f2-8d10-4fff-bfff-ffff000074e4", "019ac3f2-8d10-7fff-ffff-ffff000074e4", "019ac3f2-8d10-7fff-bfff-ffff000074é",
      "019ac3f28d10-7fff-bfff-ffff000074e4-0", "{19ac3f2-8d10-7fff-bfff-ffff000074e4",
    ] { #expect(CallID(wrong) == nil, "\(wrong)") }
  }

  @Test func `ids are in the order of their times`() {
    let ids = (0..<100).map { CallID(milliseconds: Int64($0 / 10), instance: 7, serial: UInt32($0)) }
    #expect(ids.shuffled().sorted() == ids)
  }
}
