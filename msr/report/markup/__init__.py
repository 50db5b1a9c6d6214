"""What every page is made of: the skeleton of a page, blocks, pieces of SVG, colours."""
