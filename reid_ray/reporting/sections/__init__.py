"""What the report says, a module and a template of the same name per section; `contents` has their order."""
