// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "examples",
  dependencies: [
    // In a package of your own: the address and a version of swift-device-rpc.
    .package(name: "swift-device-rpc", path: ".."),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
  ],
  targets: [
    .executableTarget(
      name: "embed",
      dependencies: [
        .product(name: "DeviceRPC", package: "swift-device-rpc"),
        .product(name: "DeviceRPCCoAP", package: "swift-device-rpc"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: [.treatAllWarnings(as: .error)])
  ],
  swiftLanguageModes: [.v6]
)
