"""What the runners on few-shot images share: the methods that are compared, the images, and how factors are read."""
