// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "rpc-bench",
  products: [
    .executable(name: "rpc-bench", targets: ["rpc-bench"]),
    .executable(name: "plain-libcoap-server", targets: ["plain-libcoap-server"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0")
  ],
  targets: [
    .target(
      name: "CFleet",
      cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
    .executableTarget(
      name: "plain-libcoap-server",
      cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])],
      linkerSettings: [.linkedLibrary("coap-3-openssl")]),
    .executableTarget(
      name: "rpc-bench",
      dependencies: [
        "CFleet",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
      ]),
  ],
  swiftLanguageModes: [.v6]
)
