"""The inference engine of the model server: SavedModels run by TensorFlow's C API."""
