16 : Devuelve solo el nombre de la carpeta.
Agrega la hoja siguiente a la selección de hojas actual. Si se seleccionan todas las hojas de un libro, esta combinación de teclas solo selecciona la hoja siguiente. Convierte la hoja siguiente en la actual.
Numeración alfabética con letras en minúscula
Objetos animados y objetos tridimensionales
Seno hiperbólico de área
Modo de selección en bloque
Abre el diálogo Mostrar columnas.
Seleccione Editar ▸ Pegar. Los dos objetos pasan a formar parte del mismo grupo. Si lo desea, los objetos se pueden editar por separado o cambiar de posición dentro del grupo.
Utilice Ver ▸ Normal cuando termine.
Pulsar en el campo de datos
Pulse en Reproducir en la barra de herramientas Reproducción multimedia.
Seleccione el punto de datos que desee convertir y siga uno de estos procedimientos:
Pulse en este botón para guardar los cambios como los valores predeterminados para las fórmulas nuevas. Aparecerá un aviso de confirmación antes de guardar las modificaciones.
Configurar un símbolo de fax mediante LibreOffice
Crea un documento nuevo para su edición.
Ctrl + ↓
Corta el objeto seleccionado y lo guarda en el portapapeles. El objeto se puede volver a insertar desde el portapapeles mediante Pegar.
Fecha variable
Según el tipo de índice que seleccione, esta pestaña contiene las opciones siguientes:
Muestra la nota asociada a la celda actual
Muestra toda la diapositiva en pantalla.
Muestra el texto sustitutivo del campo seleccionado.
Pulse dos veces sobre «Página derecha» en la lista de estilos para aplicar el estilo a la página actual.
Arrastre el objeto hasta el documento o abra el menú contextual (mediante el botón secundario del ratón) y seleccione las órdenes Insertar y Copiar.
Escriba un nuevo número inicial para el nivel actual.
Introduzca texto o imágenes en la cabecera del estilo Página izquierda. Después de añadir la página siguiente al documento, introduzca texto o imágenes en la cabecera del estilo Página derecha.
Escriba el número de colores que desee mostrar en la imagen convertida. LibreOffice genera un polígono por cada aparición de un color en la imagen.
Escriba el texto que desee mostrar después del número del capítulo. Por ejemplo, escriba un punto (.) para que aparezca «1.».
F2, Intro o cualquier tecla que genere un carácter en la pantalla
En el caso de los idiomas asiáticos, seleccione Distinguir mayúsculas y minúsculas para aplicar un cotejo multinivel. En el cotejo multinivel, primero se comparan las formas primitivas de las entradas haciendo caso omiso del uso de mayúsculas y de los diacríticos. Si las formas son iguales, se comparan los diacríticos de las formas. Si las formas siguen siendo iguales, se comparan las diferencias en el uso de mayúsculas, la anchura de los caracteres y las diferencias en el kana japonés.
Ir al final del documento con selección
es mayor que o igual a (oblicuo)
Si un punto de datos no tiene punto de control, seleccione el punto de datos y pulse en el icono En curva de la barra Editar puntos.
Si la celda actual está vacía: Salta al inicio de la tabla. De lo contrario: Salta con la primera pulsación al inicio de la celda actual, con la segunda, al inicio de la tabla actual y con la tercera, al inicio del documento.
Si no quiere que la portada del documento incluya una cabecera o un pie, aplique a esta página el estilo «Primera página».
Si desea aumentar o reducir el área de selección de colores, incremente o disminuya la tolerancia de la herramienta Reemplazar color y repita la selección.
LibreOffice Calc permite realizar cálculos con fechas y horas. Por ejemplo, para averiguar su edad exacta en segundos u horas, siga estos pasos:
Insertar marco flotante
Activar o desactivar el modo de inserción
Inserta una función coseno con un hueco. También puede escribir cos(<?>) en el cuadro Órdenes.
Inserta una signo de arcocoseno con un hueco. También puede escribir arccos(<?>) en el cuadro Órdenes.
Insertar una tabulación (sólo en tablas) Dependiendo del Administrador de ventanas que se utilice, es posible utilizar Alt+Tab en su lugar.
Inserta el signo factorial con un hueco. Puede escribir fact <?> directamente en el cuadro Órdenes.
Con esta opción se inserta la imagen seleccionada como imagen de fondo. A través de las opciones del submenú Página y Párrafo puede determinar si la imagen debe ocupar toda la página o solo el párrafo actual.
El modo Insertar permite insertar nuevos caracteres en la posición del cursor; el texto que sigue se desplaza hacia la derecha. El cursor se representará de forma vertical.
Seleccione el gráfico pulsando sobre él. Aparecerán ocho agarraderas.
Tipo de clave 1 a 3
Lista de funciones
Marque todos los módulos que se deben activar para este idioma en Ortografía, Corte de palabras y Sinónimos.
Se desplaza una hoja a la derecha.
Desplaza el cursor a la Línea de entrada donde puede escribir una fórmula para la celda actual.
Página de pantalla hacia arriba con selección
Cantidad de colores:
En la pestaña Barras de herramientas, pulse en el botón de la flecha hacia abajo para colocar el icono nuevo en el sitio que prefiera. Pulse en Aceptar.
Abre una ventana donde puede editar las propiedades de un campo. Pulse delante de un campo y seleccione esta orden. En la ventana puede usar las teclas de flecha para desplazarse al campo anterior o el siguiente.
Abre el diálogo Probar configuración de la cuenta para probar la configuración actual.
Abra el documento de texto en el que desee copiar el gráfico.
Coloque el cursor en la celda A3. Abra el menú contextual de la celda —mediante el botón secundario del ratón— y elija Formato de celdas.
Previsualización de la imagen convertida. Pulse Previsualización para generar la imagen vectorizada.
Imprimir texto e imágenes en blanco y negro
Reduce o aumenta el tamaño de la visualización en pantalla del documento actual. Pulse en la flecha que hay junto al icono para abrir la barra de herramientas Zum.
Cambiar nombre: abre un cuadro de diálogo para introducir otro nombre para el marcador.
devuelve el valor 20.
Escanea una imagen e inserta el resultado en el documento. El cuadro de diálogo de escaneado lo proporciona el fabricante del escáner. Para obtener una explicación del diálogo, consulte la documentación del escáner.
Seleccione un diccionario de la lista Diccionario del usuario y pulse Editar.
Seleccionar marco siguiente
Seleccione la pestaña Descripción.
Seleccione los niveles para los que quiera definir las opciones de formato. El nivel seleccionado se muestra resaltado en la previsualización.
Seleccione de la lista el texto que desea insertar.
Establezca las opciones de conversión para la imagen.
Atajos de teclado para las tablas en LibreOffice Writer
Algunas palabras contienen caracteres especiales que LibreOffice trata como un guion. Si no desea que dichas palabras se dividan, puede insertar un código especial que evite la división de palabras en la posición en que se inserta el código. Realice el siguiente procedimiento:
Especifica si se debe iniciar automáticamente el Asistente al insertar un control nuevo. Este valor de configuración se aplica globalmente a todos los documentos.
sucede o es igual a
El símbolo de ancla se muestra en el margen izquierdo de la página, al inicio del párrafo.
Los elementos siguientes del cuadro de diálogo son visibles solo cuando se selecciona el tipo de campo correspondiente.
Aparece el cuadro de diálogo Formato de celdas. En la pestaña Números, la categoría «Número» aparece destacada. El formato establecido es «General», lo que hace que el resultado de efectuar cálculos entre fechas se muestre también como fecha. Si desea mostrar el resultado en forma de número, establezca el formato «-1,234» por ejemplo, y cierre el diálogo pulsando en el botón Aceptar.
El logaritmo natural es aquel cuya base es e. La base e es una constante con el valor aproximado de 2,718282...
Detalle de los operadores de conjuntos:
Hora fija
Para centrar una imagen en una página HTML, inserte la imagen, ánclela «como carácter» y centre el párrafo.
Para crear una matriz en la que todas las celdas contengan la información escrita en la Línea de entrada, oprima Mayús + Ctrl + Intro. Los componentes de la matriz no se pueden editar.
Para insertar columnas en el control de tablas, pulse con el botón derecho en los títulos de columnas para abrir el menú contextual. Están disponibles las órdenes siguientes:
Para quitar el resalte
Para seleccionar varias hojas de una hoja de cálculo, mantenga oprimida Ctrl y pulse en las pestañas de nombre correspondientes situadas en la parte inferior del área de trabajo. Para elegir una única hoja de una selección, pulse en la pestaña del nombre de dicha hoja mientras mantiene oprimida la tecla Mayús.
Si desea actualizar el índice pulse sobre él con el botón secundario del ratón y, a continuación, sobre Actualizar índice o sumario.
Escriba el número del registro que desee mostrar y a continuación pulse "Entrar".
Actualiza el gráfico seleccionado.
Use Estilos de página para organizar la estructura del documento y para añadir números de páginas. También puede especificar el estilo que desea aplicar a la primera página tras un salto de página.
Use el icono para insertar el operador de conjunto está incluido en con dos huecos. También puede escribir <?> in <?> directamente en el cuadro Órdenes.
Use este icono para insertar un conjunto vacío. Escriba emptyset en el cuadro Órdenes para insertar un conjunto vacío en el documento.
Use este icono para insertar el operador es conjunto superior de y dos comodines. También puede escribir <?>supset<?> en el cuadro Órdenes.
Cuando se selecciona un símbolo el nombre de la orden aparece bajo la lista de iconos y aparece una versión ampliada en un cuadro de la derecha. Observe que el nombre se debe escribir en el cuadro Órdenes exactamente igual que como se muestra aquí (diferenciando las mayúsculas de las minúsculas).
siendo (/) el signo de división del teclado numérico
También puede pulsar dos veces sobre un campo del documento para abrirlo y editarlo.
Puede calcular logaritmos en cualquier base (n) para cualquier número (x) dividiendo el logaritmo natural de x por el logaritmo natural de n, como se muestra a continuación:
