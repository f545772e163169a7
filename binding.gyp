# A thin door for `node-gyp rebuild`: CMake owns the sources, and scripts/build.mjs drives it.
{
  'targets': [{
    'target_name': 'metavoice',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake',
      'inputs': ['CMakeLists.txt', 'scripts/build.mjs'],
      'outputs': ['<(PRODUCT_DIR)/metavoice.node'],
      'action': ['node', 'scripts/build.mjs', '--out', '<(PRODUCT_DIR)', '--force']
    }]
  }]
}
